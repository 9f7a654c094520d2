// Vision Mamba: its names, its parameters and how they start, the gradient under every switch,
// dropout and drop path. The reference's numbers are compared in parity_test.cpp.
#include <set>

#include "tests/vim_model.h"

using namespace krait;

namespace {

int64_t parameters(VimConfig c, int classes) {
  c.num_classes = classes;
  check(c);
  return declared(c).count();
}

// Every parameter's gradient, in the direction of a random vector, against a central difference:
// one number for all its elements.
void check_every_gradient(Model& m) {
  m.gradients();
  std::mt19937 random(7);
  std::uniform_real_distribution<double> u(-1, 1);
  const double h = 1e-5;
  for (const Param& p : m.store.all()) {
    double* at = m.store.part(Role::master, p).as<double>();
    const double* g = m.store.part(Role::gradient, p).as<double>();
    const int64_t n = p.shape.count();
    const std::vector<double> keep(at, at + n);
    std::vector<double> direction(n);
    double analytic = 0, size = 0;
    for (int64_t i = 0; i < n; ++i) {
      direction[i] = u(random);
      analytic += g[i] * direction[i];
      size += g[i] * g[i];
    }
    auto loss_at = [&](double step) {
      for (int64_t i = 0; i < n; ++i) at[i] = keep[i] + step * direction[i];
      return m.ctx.values(m.loss())[0];
    };
    const double numeric = (loss_at(h) - loss_at(-h)) / (2 * h);
    std::copy(keep.begin(), keep.end(), at);
    CAPTURE(p.name);
    // Every parameter has a part in the result, but for one: where the token that is classified is
    // the first of a side's scan, no state has decayed yet, so A does not matter.
    const std::string last_layer = cat("layers.", m.config.depth - 1, ".mixer.A");
    if (p.name.rfind(last_layer, 0) != 0) CHECK(size > 0);
    CHECK(analytic == doctest::Approx(numeric).epsilon(1e-6).scale(std::sqrt(size) + 1e-3));
  }
}

}  // namespace

TEST_CASE("vim: every name, with its number of parameters") {
  struct {
    const char* name;
    int64_t classes_1000, classes_10;  // true bidirectional counts; 0: a native model
  } const expected[] = {
      {"vim_tiny_patch4_32", 0, 6792970},
      {"vim_tiny_patch2_32", 0, 6822922},
      {"vim_micro_patch4_32", 0, 102602},
      {"vim_tiny_conv4_32", 0, 6537802},
      {"vim_tiny_conv2_32", 0, 3668554},
      {"vim_micro_conv4_32", 0, 126938},
      {"vim_tiny_patch16_224_bimambav2_final_pool_mean_abs_pos_embed_rope_also_residual", 7147624,
       6956554},
      {"vim_tiny_patch16_224_bimambav2_final_pool_mean_abs_pos_embed_rope_also_residual_with_cls_"
       "token",
       7148008, 6956938},
      {"vim_tiny_patch8_224_bimambav2_final_pool_mean_abs_pos_embed_rope_also_residual", 7149928,
       6958858},
      {"vim_tiny_patch8_224_bimambav2_final_pool_mean_abs_pos_embed_rope_also_residual_with_cls_"
       "token",
       7150312, 6959242},
      {"vim_small_patch16_224_bimambav2_final_pool_mean_abs_pos_embed_rope_also_residual", 25795816,
       25414666},
      {"vim_base_patch16_224_bimambav2_final_pool_mean_abs_pos_embed_rope_also_residual", 97596904,
       96835594},
      {"vim_tiny_patch16_224_bimambav2_final_pool_mean_abs_pos_embed_with_midclstok_div2", 7148008,
       6956938},
      {"vim_tiny_patch16_stride8_224_bimambav2_final_pool_mean_abs_pos_embed_with_midclstok_div2",
       7250344, 7059274},
      {"vim_small_patch16_224_bimambav2_final_pool_mean_abs_pos_embed_with_midclstok_div2",
       25796584, 25415434},
      {"vim_small_patch16_stride8_224_bimambav2_final_pool_mean_abs_pos_embed_with_midclstok_div2",
       26001256, 25620106},
      {"vim_base_patch16_224_bimambav2_final_pool_mean_abs_pos_embed_with_middle_cls_token_div2",
       97598440, 96837130},
  };
  std::set<std::string> listed;
  for (const NamedModel& m : vim_names()) listed.insert(m.name);
  CHECK(listed.size() == std::size(expected));
  for (const auto& e : expected) {
    CAPTURE(e.name);
    CHECK(listed.count(e.name) == 1);
    const VimConfig c = vim_config(e.name);
    check(c);
    CHECK(c.bimamba_type == "v2");
    CHECK(c.num_classes == (e.classes_1000 ? 1000 : 10));
    if (e.classes_1000) CHECK(parameters(c, 1000) == e.classes_1000);
    CHECK(parameters(c, 10) == e.classes_10);
    CHECK(to_json(vim_config_from_json(to_json(c))) == to_json(c));
  }
  // The published CIFAR project asks for v2 and gets one direction: this many parameters.
  VimConfig c =
      vim_config("vim_tiny_patch16_224_bimambav2_final_pool_mean_abs_pos_embed_rope_also_residual");
  c.bimamba_type = "none";
  CHECK(parameters(c, 10) == 6228490);
  CHECK(parameters(c, 1000) == 6419560);
  CHECK(declared(c).all().size() == 246);
  c.bimamba_type = "v1";  // another A_log in each layer
  CHECK(parameters(c, 10) == 6228490 + 24 * 384 * 16);
  c = vim_config("vim_tiny_patch4_32");
  c.bimamba_type = "none";
  CHECK(parameters(c, 10) == 6064906);
  CHECK(declared(vim_config("vim_tiny_patch16_224_bimambav2_final_pool_mean_abs_pos_embed_with_"
                            "midclstok_div2"))
            .all()
            .size() == 415);
}

TEST_CASE("vim: every named model runs (one narrow layer of it)") {
  for (const NamedModel& named : vim_names()) {
    VimConfig c = vim_config(named.name);
    c.depth = 1;
    c.embed_dim = 16;
    c.num_classes = 10;
    CAPTURE(named.name);
    const OneThread alone;
    Context ctx(Backend::cpu);
    ParamStore store = declared(c);
    store.allocate(ctx, DType::f32, {});
    store.initialise(ctx, 0);
    const RopeTable table = rope_table(ctx, c, DType::f32);
    Tensor images = ctx.persistent({1, 3, c.img_size, c.img_size}, DType::f32, 0.5);
    auto logits = [&] { return vim(ctx, c, vim_weights(c, store), table, images); };
    ctx.reserve(ctx.measure(logits));
    const Tensor y = logits();
    CHECK(y.shape() == Shape({1, 10}));
    CHECK(ctx.all_finite(y));
  }
}

TEST_CASE("vim: an unknown name brings the nearest ones") {
  CHECK_THROWS_WITH_AS(vim_config("vim_tiny_patch5_32"),
                       "there is no model 'vim_tiny_patch5_32'. The nearest names: "
                       "vim_tiny_patch4_32, vim_tiny_patch2_32, vim_micro_patch4_32",
                       InputError);
}

TEST_CASE("vim: parameters have the published names, shapes and order") {
  VimConfig c = vim_config("vim_tiny_patch4_32");
  auto text = [](const VimConfig& c) {
    std::string s;
    const ParamStore store = declared(c);
    for (const Param& p : store.all()) s += cat(p.name, " ", p.shape, "\n");
    return s;
  };
  c.depth = 1;
  CHECK(text(c) ==
        "pos_embed (1, 64, 192)\n"
        "patch_embed.proj.weight (192, 3, 4, 4)\n"
        "patch_embed.proj.bias (192)\n"
        "head.weight (10, 192)\n"
        "head.bias (10)\n"
        "layers.0.mixer.A_log (384, 16)\n"
        "layers.0.mixer.D (384)\n"
        "layers.0.mixer.A_b_log (384, 16)\n"
        "layers.0.mixer.D_b (384)\n"
        "layers.0.mixer.in_proj.weight (768, 192)\n"
        "layers.0.mixer.conv1d.weight (384, 1, 4)\n"
        "layers.0.mixer.conv1d.bias (384)\n"
        "layers.0.mixer.x_proj.weight (44, 384)\n"
        "layers.0.mixer.dt_proj.weight (384, 12)\n"
        "layers.0.mixer.dt_proj.bias (384)\n"
        "layers.0.mixer.conv1d_b.weight (384, 1, 4)\n"
        "layers.0.mixer.conv1d_b.bias (384)\n"
        "layers.0.mixer.x_proj_b.weight (44, 384)\n"
        "layers.0.mixer.dt_proj_b.weight (384, 12)\n"
        "layers.0.mixer.dt_proj_b.bias (384)\n"
        "layers.0.mixer.out_proj.weight (192, 384)\n"
        "layers.0.norm.weight (192)\n"
        "norm_f.weight (192)\n");
  auto names = [](const VimConfig& c) {
    std::vector<std::string> v;
    const ParamStore store = declared(c);
    for (const Param& p : store.all()) v.push_back(p.name);
    return v;
  };
  auto has = [&](const VimConfig& c, const std::string& name) {
    const auto v = names(c);
    return std::find(v.begin(), v.end(), name) != v.end();
  };
  VimConfig v1 = small();
  v1.bimamba_type = "v1";
  CHECK(has(v1, "layers.1.mixer.A_b_log"));
  CHECK(!has(v1, "layers.1.mixer.D_b"));
  CHECK(!has(v1, "layers.1.mixer.conv1d_b.weight"));
  VimConfig scaled = small();
  scaled.init_layer_scale = 1e-5;
  CHECK(names(scaled)[5] == "layers.0.mixer.gamma");
  VimConfig cls = small();
  cls.if_cls_token = true;
  CHECK(names(cls)[0] == "cls_token");
  CHECK(names(cls)[1] == "pos_embed");
  CHECK(declared(cls).find("pos_embed")->shape == Shape({1, 5, 8}));
  cls.use_double_cls_token = true;
  CHECK(names(cls)[0] == "cls_token_head");
  CHECK(names(cls)[1] == "cls_token_tail");
  CHECK(declared(cls).find("pos_embed")->shape == Shape({1, 6, 8}));
  VimConfig conv = small();
  conv.stem = "conv", conv.stem_width = 3, conv.stem_depth = 1;
  conv.mixer_conv = "2d", conv.d_conv = 3;
  CHECK(!has(conv, "patch_embed.proj.weight"));
  CHECK(!has(conv, "layers.0.mixer.conv1d.weight"));
  CHECK(declared(conv).find("stem.0.conv.weight")->shape == Shape({3, 3, 3, 3}));
  CHECK(declared(conv).find("stem.1.conv.weight")->shape == Shape({6, 3, 3, 3}));
  CHECK(declared(conv).find("stem.1.blocks.0.conv2.weight")->shape == Shape({6, 6, 3, 3}));
  CHECK(declared(conv).find("stem.1.norm.bias")->shape == Shape({6}));
  CHECK(!has(conv, "stem.0.blocks.0.conv1.weight"));
  CHECK(declared(conv).find("stem.proj.weight")->shape == Shape({8, 6, 3, 3}));
  CHECK(declared(conv).find("layers.1.mixer.conv2d_b.weight")->shape == Shape({16, 1, 3, 3}));
  CHECK(declared(conv).find("layers.1.mixer.conv2d_b.weight")->decay);
  CHECK(declared(conv).find("stem.proj.weight")->decay);
  CHECK(!declared(conv).find("stem.1.norm.weight")->decay);
  VimConfig more = small();
  more.rms_norm = false;
  more.bias = true;
  more.conv_bias = false;
  CHECK(has(more, "layers.0.norm.bias"));
  CHECK(has(more, "norm_f.bias"));
  CHECK(has(more, "layers.0.mixer.in_proj.bias"));
  CHECK(has(more, "layers.0.mixer.out_proj.bias"));
  CHECK(!has(more, "layers.0.mixer.conv1d.bias"));
}

TEST_CASE("vim: what has weight decay") {
  VimConfig c = small();
  c.if_cls_token = true;
  std::set<std::string> decayed;
  const ParamStore store = declared(c);
  for (const Param& p : store.all())
    if (p.decay && p.name.find("layers.1.") == std::string::npos) decayed.insert(p.name);
  const std::string m = "layers.0.mixer.";
  CHECK(decayed == std::set<std::string>{"patch_embed.proj.weight", "head.weight", m + "A_log",
                                         m + "A_b_log", m + "in_proj.weight", m + "conv1d.weight",
                                         m + "x_proj.weight", m + "dt_proj.weight",
                                         m + "conv1d_b.weight", m + "x_proj_b.weight",
                                         m + "dt_proj_b.weight", m + "out_proj.weight"});
}

TEST_CASE("vim: how parameters start, with the reverse side's dt bias repaired or published") {
  const VimConfig c = vim_config("vim_micro_patch4_32");  // D 64, E 128, N 4, R 4, depth 3
  const OneThread alone;
  Context ctx(Backend::cpu);
  ParamStore repaired = declared(c), published = declared(c, MixerInit::published);
  for (ParamStore* s : {&repaired, &published}) {
    s->allocate(ctx, DType::f32, {});
    s->initialise(ctx, 3);
  }
  auto values = [&](const ParamStore& s, const std::string& name) {
    return ctx.values(s.part(Role::master, *s.find(name)));
  };
  for (const Param& p : repaired.all()) {
    CAPTURE(p.name);
    const auto v = values(repaired, p.name), other = values(published, p.name);
    if (p.name.ends_with("dt_proj_b.bias")) {
      for (double x : other) CHECK_UNARY(x == 0);  // dt starts at ln 2
    } else {
      CHECK(v == other);
    }
    double largest = 0, square = 0;
    for (double x : v) largest = std::max(largest, std::abs(x)), square += x * x;
    const double rms = std::sqrt(square / static_cast<double>(v.size()));
    auto uniform = [&](double bound) {
      CHECK(largest <= bound * (1 + 1e-6));
      CHECK(rms == doctest::Approx(bound / std::sqrt(3)).epsilon(0.1));
    };
    auto ends = [&](const char* end) { return p.name.ends_with(end); };
    if (ends("dt_proj.bias") || ends("dt_proj_b.bias")) {
      for (double x : v) CHECK_UNARY(std::log1p(std::exp(x)) >= 0.999e-3);
      for (double x : v) CHECK_UNARY(std::log1p(std::exp(x)) <= 0.1001);
    } else if (ends("A_log") || ends("A_b_log")) {
      for (size_t i = 0; i < v.size(); ++i)
        CHECK_UNARY(v[i] == static_cast<float>(std::log(1.0 + static_cast<double>(i % c.d_state))));
    } else if (ends(".D") || ends(".D_b") || ends("norm.weight") || ends("norm_f.weight")) {
      for (double x : v) CHECK_UNARY(x == 1);
    } else if (ends("proj.bias") || ends("head.bias")) {
      for (double x : v) CHECK_UNARY(x == 0);
    } else if (ends("in_proj.weight")) {
      uniform(1 / std::sqrt(64.0));
    } else if (ends("conv1d.weight") || ends("conv1d.bias") || ends("conv1d_b.weight") ||
               ends("conv1d_b.bias")) {
      uniform(0.5);
    } else if (ends("x_proj.weight") || ends("x_proj_b.weight")) {
      uniform(1 / std::sqrt(128.0));
    } else if (ends("dt_proj.weight") || ends("dt_proj_b.weight")) {
      uniform(1 / std::sqrt(4.0));
    } else if (ends("out_proj.weight")) {
      uniform(1 / std::sqrt(128.0) / std::sqrt(double(c.depth)));
    } else if (ends("patch_embed.proj.weight")) {
      CHECK(rms == doctest::Approx(1 / std::sqrt(48.0) / 0.87962566).epsilon(0.05));
    } else {
      CHECK((ends("pos_embed") || ends("head.weight")));
      CHECK(rms == doctest::Approx(0.02).epsilon(0.1));
    }
  }
}

TEST_CASE("vim: the gradient of every parameter, under every switch") {
  for (const auto& [name, change] : switches()) {
    CAPTURE_BOUND(name);
    VimConfig c = small();
    change(c);
    Model m(c);
    check_every_gradient(m);
    // f32 goes through the CPU's fast kernels.
    Model fast(c, DType::f32);
    const auto exact = m.logit_values(), got = fast.logit_values();
    for (size_t i = 0; i < exact.size(); ++i)
      CHECK(got[i] == doctest::Approx(exact[i]).epsilon(1e-5).scale(1));
  }
}

TEST_CASE("vim: a name that says bidirectional is: the first token sees the last patch") {
  auto first_token_changes = [](const char* type, bool pairs) {
    VimConfig c = small();
    c.bimamba_type = type;
    c.if_bidirectional = pairs;
    Model m(c);
    auto first = [&] {
      VimKept kept;
      m.logits(&kept);
      auto v = m.ctx.values(kept.features);  // (B, L, D)
      v.resize(c.embed_dim);
      return v;
    };
    const auto before = first();
    const int64_t S = c.img_size;
    m.images.as<double>()[S * S - 1] += 1;  // the last pixel of the first channel
    return first() != before;
  };
  CHECK(!first_token_changes("none", false));
  CHECK(first_token_changes("none", true));
  CHECK(first_token_changes("v1", false));
  CHECK(first_token_changes("v2", false));
}

TEST_CASE("vim: dropout and drop path") {
  VimConfig c = small();
  c.depth = 3;
  c.drop_rate = 0.3;
  c.drop_path_rate = 0.5;
  VimConfig without = c;
  without.drop_rate = without.drop_path_rate = 0;
  Model m(c, DType::f64, true), plain(without, DType::f64, true);
  m.ctx.training = false;
  const auto evaluated = m.logit_values();
  CHECK(evaluated == plain.logit_values());  // the identity in evaluation
  m.ctx.training = true;
  m.state.seed = 4;
  m.state.step = 9;
  const auto trained = m.logit_values();
  CHECK(trained != evaluated);
  CHECK(trained == m.logit_values());  // a function of seed and step
  m.state.step = 10;
  CHECK(trained != m.logit_values());
  m.state.step = 9;
  m.state.seed = 5;
  CHECK(trained != m.logit_values());
  m.state.seed = 4;
  // The same with the tape, whose backward pass draws the same numbers again. Some parameters may
  // have no gradient, so the whole loss is looked at.
  m.gradients();
  const std::vector<double> g = m.ctx.values(m.store.flat(Role::gradient));
  double* at = m.store.flat(Role::master).as<double>();
  std::mt19937 random(7);
  std::uniform_real_distribution<double> u(-1, 1);
  std::vector<double> direction(g.size());
  double analytic = 0;
  for (size_t i = 0; i < g.size(); ++i) {
    direction[i] = u(random);
    analytic += g[i] * direction[i];
  }
  auto loss_after = [&](double step) {
    for (size_t i = 0; i < g.size(); ++i) at[i] += step * direction[i];
    return m.ctx.values(m.loss())[0];
  };
  const double h = 1e-5, up = loss_after(h), down = loss_after(-2 * h);
  CHECK(analytic == doctest::Approx((up - down) / (2 * h)).epsilon(1e-6));
}

TEST_CASE("vim: drop path rates are the published ones, shifted by one block") {
  // Depth 2: the first mixer's output is never dropped, the last one's at the full rate.
  VimConfig c = small();
  c.drop_path_rate = 0.999999;
  Model m(c, DType::f64, true);
  m.gradients();
  CHECK(m.size_of_gradient("layers.0.mixer.out_proj.weight") > 0);
  CHECK(m.size_of_gradient("layers.1.mixer.out_proj.weight") == 0);
  // Depth 4: rates 0, 1/3, 2/3 and all of it.
  c.depth = 4;
  Model deep(c, DType::f64, true);
  int kept[4] = {};
  for (deep.state.step = 0; deep.state.step < 200; ++deep.state.step) {
    deep.gradients();
    for (int i = 0; i < 4; ++i)
      kept[i] += deep.size_of_gradient(cat("layers.", i, ".mixer.out_proj.weight")) > 0;
  }
  // Of two pictures at least one kept: 1, 1 - (1/3)^2 and 1 - (2/3)^2, within 4 deviations.
  CHECK(kept[0] == 200);
  CHECK(std::abs(kept[1] - 200 * 8 / 9) < 18);
  CHECK(std::abs(kept[2] - 200 * 5 / 9) < 28);
  CHECK(kept[3] == 0);
}

TEST_CASE("vim: switches that do not fit together are bad input") {
  auto refused = [](auto&& change, const char* text) {
    VimConfig c = small();
    change(c);
    CHECK_THROWS_WITH_AS(check(c), doctest::Contains(text), InputError);
    CHECK_THROWS_AS(vim_config_from_json(to_json(c)), InputError);
  };
  refused([](VimConfig& c) { c.if_rope = c.if_cls_token = c.use_double_cls_token = true; },
          "RoPE works with at most one class token");
  refused([](VimConfig& c) { c.if_rope = true, c.stride = 2; },
          "RoPE needs a stride equal to the patch size");
  refused([](VimConfig& c) { c.if_rope = true, c.img_size = 12; },
          "RoPE needs an even number of patches, not 9");
  refused([](VimConfig& c) { c.if_rope = true, c.embed_dim = 6; }, "divisible by 4, not 6");
  refused([](VimConfig& c) { c.if_bidirectional = true, c.depth = 3; },
          "if_bidirectional pairs the layers; depth is 3, an odd number");
  refused([](VimConfig& c) { c.bimamba_type = "v3"; }, "bimamba_type is 'v3'");
  refused([](VimConfig& c) { c.final_pool_type = "median"; }, "final_pool_type is 'median'");
  refused([](VimConfig& c) { c.patch_size = 16; }, "patch_size is 16; it must be 1 to 8");
  refused([](VimConfig& c) { c.d_state = 65; }, "d_state is 65; it must be 1 to 64");
  refused([](VimConfig& c) { c.stem = "tree"; }, "stem is 'tree'; it must be patch or conv");
  refused([](VimConfig& c) { c.stem = "conv", c.patch_size = c.stride = 1; }, "not 1");
  refused([](VimConfig& c) { c.stem = "conv", c.img_size = 9, c.patch_size = c.stride = 3; },
          "patch_size must be 2, 4, 8 or another power of 2, not 3");
  refused([](VimConfig& c) { c.stem = "conv", c.stride = 2; },
          "stem conv needs a stride equal to the patch size, not 2");
  refused([](VimConfig& c) { c.stem = "conv", c.img_size = 10; }, "10 is not a multiple of 4");
  refused([](VimConfig& c) { c.stem = "conv", c.stem_width = 0; }, "stem_width is 0");
  refused([](VimConfig& c) { c.stem_depth = 1; }, "stem_width and stem_depth are of stem conv");
  refused([](VimConfig& c) { c.mixer_conv = "2d"; }, "d_conv must be 3, not 4");
  refused([](VimConfig& c) { c.mixer_conv = "2d", c.d_conv = 3, c.if_cls_token = true; },
          "mixer_conv 2d needs tokens that form a grid: no class token");
  refused([](VimConfig& c) { c.scan_order = "alternate", c.if_cls_token = true; },
          "scan_order alternate needs tokens that form a grid: no class token");
  refused([](VimConfig& c) { c.scan_order = "spiral"; }, "scan_order is 'spiral'");
  refused([](VimConfig& c) { c.d_conv = 9; }, "d_conv is 9; it must be 2 to 8");
  refused([](VimConfig& c) { c.depth = 0; }, "depth is 0");
  refused([](VimConfig& c) { c.num_classes = 0; }, "num_classes is 0");
  CHECK_THROWS_WITH_AS(vim_config_from_json("{\"depth\": \"many\"}"),
                       doctest::Contains("not a model configuration"), InputError);
  CHECK_THROWS_WITH_AS(vim_config_from_json("{"), doctest::Contains("not a model configuration"),
                       InputError);

  Model m(small());
  const Tensor wide = m.ctx.persistent({2, 3, 8, 12}, DType::f64);
  CHECK_THROWS_WITH_AS(vim(m.ctx, m.config, vim_weights(m.config, m.store), m.table, wide),
                       doctest::Contains("images are (2, 3, 8, 12), the model takes pictures of 8"),
                       Error);
}
