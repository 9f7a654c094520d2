// VisionTransformer: names, sizes, configuration, every parameter's gradient under every switch,
// drop path, identification. That it is timm's model is shown by the golden bundles (parity_test).
#include <set>

#include "models/model.h"
#include "models/shapes.h"
#include "models/vit/identify.h"
#include "tests/vim_model.h"

using namespace krait;

namespace {

VitConfig small_vit() {
  VitConfig c;
  c.img_size = 8;
  c.patch_size = 4;
  c.depth = 2;
  c.embed_dim = 6;
  c.num_heads = 2;
  c.mlp_ratio = 2;
  c.num_classes = 3;
  return c;
}
ParamStore declared(const VitConfig& c) {
  return ParamStore([&](ParamStore& s) { vit_weights(c, s); });
}

// With random weights, two random pictures and their targets, in f64.
struct SmallVit {
  OneThread alone;
  VitConfig config;
  Context ctx{Backend::cpu};
  ParamStore store;
  StepState state;
  Tensor images, targets;

  explicit SmallVit(const VitConfig& c, bool training = false) : config(c), store(declared(c)) {
    check(c);
    store.allocate(ctx, DType::f64, {.gradients = true});
    store.initialise(ctx, 1);
    std::mt19937 random(5);
    auto disturb = [&](const Tensor& t, double size) {
      std::vector<double> v = ctx.values(t);
      for (double& x : v) x += std::uniform_real_distribution<double>(-size, size)(random);
      ctx.set(t, v);
    };
    disturb(store.flat(Role::master), 0.6);
    images = ctx.persistent({2, 3, c.img_size, c.img_size}, DType::f64);
    targets = ctx.persistent({2, c.num_classes}, DType::f64, 1);
    disturb(images, 1);
    disturb(targets, 1);
    ctx.state = &state;
    ctx.training = training;
    ctx.reserve(ctx.measure([&] { gradients(); }));
  }
  Tensor loss() {
    return cross_entropy(ctx, vit(ctx, config, vit_weights(config, store), images), targets);
  }
  std::vector<double> gradients() {
    ctx.fill(store.flat(Role::gradient), 0);
    Tape tape;
    auto recording = ctx.record(tape);
    store.watch(tape);
    tape.backward(ctx, loss());
    return ctx.values(store.flat(Role::gradient));
  }
};

using VitChange = void (*)(VitConfig&);
const std::vector<std::pair<std::string, VitChange>>& vit_switches() {
  static const std::vector<std::pair<std::string, VitChange>> all = {
      {"class token", [](VitConfig&) {}},
      {"average, no class token",
       [](VitConfig& c) { c.global_pool = "avg", c.class_token = false; }},
      {"average beside a class token", [](VitConfig& c) { c.global_pool = "avg"; }},
      {"average, normalised before",
       [](VitConfig& c) { c.global_pool = "avg", c.fc_norm = false; }},
      {"class token, normalised after", [](VitConfig& c) { c.fc_norm = true; }},
      {"no bias of qkv", [](VitConfig& c) { c.qkv_bias = false; }},
      {"layer scale", [](VitConfig& c) { c.init_values = 0.5; }},
      {"one block, three heads", [](VitConfig& c) { c.depth = 1, c.num_heads = 3; }},
      {"drop path and dropout",
       [](VitConfig& c) { c.drop_path_rate = 0.5, c.pos_drop_rate = 0.3; }},
  };
  return all;
}

}  // namespace

TEST_CASE("vit: named models have timm's numbers of parameters") {
  const std::pair<const char*, int64_t> expected[] = {
      {"deit_tiny_patch16_224", 5717416},  {"deit_small_patch16_224", 22050664},
      {"deit_base_patch16_224", 86567656}, {"vit_tiny_patch16_224", 5717416},
      {"vit_small_patch16_224", 22050664}, {"vit_base_patch16_224", 86567656},
  };
  for (const auto& [name, count] : expected) {
    CAPTURE_BOUND(name);
    CHECK(declared(vit_config(name)).count() == count);
  }
  std::set<std::string> all;
  for (const NamedModel& m : model_names()) all.insert(m.name);
  CHECK(all.size() == vim_names().size() + vit_names().size());
  for (const NamedModel& m : vit_names()) {
    CAPTURE(m.name);
    CHECK(ImageModel(model_config(m.name)).vit());
    const VitConfig c = vit_config(m.name);
    CHECK(to_json(vit_config_from_json(to_json(c))) == to_json(c));
  }
  // DeiT's paper, table 5: 1.3, 4.6 and 17.6 billion multiply-adds, without those of the attention.
  CHECK(vit_flops(vit_config("deit_tiny_patch16_224")) ==
        doctest::Approx(2 * 1.26e9).epsilon(0.01));
}
TEST_CASE("vit: parameters have timm's names, shapes and order; what decays") {
  VitConfig c = small_vit();
  c.depth = 1;
  std::string text;
  std::set<std::string> decayed;
  const ParamStore store = declared(c);
  for (const Param& p : store.all()) {
    text += cat(p.name, " ", p.shape, "\n");
    if (p.decay) decayed.insert(p.name);
  }
  CHECK(text ==
        "cls_token (1, 1, 6)\npos_embed (1, 5, 6)\n"
        "patch_embed.proj.weight (6, 3, 4, 4)\npatch_embed.proj.bias (6)\n"
        "blocks.0.norm1.weight (6)\nblocks.0.norm1.bias (6)\n"
        "blocks.0.attn.qkv.weight (18, 6)\nblocks.0.attn.qkv.bias (18)\n"
        "blocks.0.attn.proj.weight (6, 6)\nblocks.0.attn.proj.bias (6)\n"
        "blocks.0.norm2.weight (6)\nblocks.0.norm2.bias (6)\n"
        "blocks.0.mlp.fc1.weight (12, 6)\nblocks.0.mlp.fc1.bias (12)\n"
        "blocks.0.mlp.fc2.weight (6, 12)\nblocks.0.mlp.fc2.bias (6)\n"
        "norm.weight (6)\nnorm.bias (6)\nhead.weight (3, 6)\nhead.bias (3)\n");
  CHECK(decayed == std::set<std::string>{"patch_embed.proj.weight", "blocks.0.attn.qkv.weight",
                                         "blocks.0.attn.proj.weight", "blocks.0.mlp.fc1.weight",
                                         "blocks.0.mlp.fc2.weight", "head.weight"});
  c.init_values = 1e-5;
  c.global_pool = "avg";
  const ParamStore more = declared(c);
  CHECK(more.find("blocks.0.ls1.gamma"));
  CHECK(more.find("blocks.0.ls2.gamma"));
  CHECK(more.find("fc_norm.weight"));
  CHECK(!more.find("norm.weight"));
}
TEST_CASE("vit: every parameter's gradient, under every switch") {
  for (const auto& [name, change] : vit_switches()) {
    CAPTURE_BOUND(name);
    VitConfig c = small_vit();
    change(c);
    SmallVit m(c, true);
    const std::vector<double> gradient = m.gradients();
    for (const Param& p : m.store.all()) {
      CAPTURE(p.name);
      const Tensor values = m.store.part(Role::master, p);
      // Two elements of each: the first, and one from the middle.
      for (const int64_t i : {int64_t{0}, p.shape.count() / 2}) {
        double& v = values.as<double>()[i];
        const double keep = v, h = 1e-5;
        v = keep + h;
        const double up = m.ctx.values(m.loss())[0];
        v = keep - h;
        const double down = m.ctx.values(m.loss())[0];
        v = keep;
        CHECK(gradient[p.offset + i] ==
              doctest::Approx((up - down) / (2 * h)).epsilon(1e-6).scale(1));
      }
    }
  }
}
TEST_CASE("vit: re-making the blocks changes no bit of a gradient") {
  VitConfig c = small_vit();
  c.drop_path_rate = 0.5;
  SmallVit m(c, true);
  const std::vector<double> kept = m.gradients();
  m.ctx.remake_layers = true;
  m.ctx.reserve(m.ctx.measure([&] { m.gradients(); }));
  CHECK(m.gradients() == kept);
}
TEST_CASE("vit: drop path of rate almost 1 leaves out the last block, and no other") {
  VitConfig c = small_vit();
  c.depth = 3;
  c.drop_path_rate = 0.999999;
  SmallVit m(c, true);
  double last = 0, first = 0;
  const std::vector<double> gradient = m.gradients();
  for (const Param& p : m.store.all())
    for (int64_t i = 0; i < p.shape.count(); ++i) {
      if (p.name.starts_with("blocks.2.")) last += std::abs(gradient[p.offset + i]);
      if (p.name.starts_with("blocks.0.")) first += std::abs(gradient[p.offset + i]);
    }
  CHECK(last == 0);
  CHECK(first > 0);
}
TEST_CASE("vit: what does not fit together, and what is not known, is named") {
  auto changed = [](auto change) {
    VitConfig c = small_vit();
    change(c);
    return c;
  };
  CHECK_THROWS_WITH_AS(check(changed([](auto& c) { c.num_heads = 4; })),
                       doctest::Contains("embed_dim is 6, which num_heads, 4, does not divide"),
                       InputError);
  CHECK_THROWS_WITH_AS(check(changed([](auto& c) { c.img_size = 9; })),
                       doctest::Contains("9 is not a multiple of 4"), InputError);
  CHECK_THROWS_WITH_AS(check(changed([](auto& c) { c.class_token = false; })),
                       doctest::Contains("must be avg"), InputError);
  CHECK_THROWS_WITH_AS(model_config_from_json(R"({"architecture": "vit", "reg_tokens": 4})"),
                       doctest::Contains("reg_tokens"), InputError);
  CHECK_THROWS_WITH_AS(model_config_from_json(R"({"architecture": "resnet"})"),
                       doctest::Contains("resnet"), InputError);
  CHECK_THROWS_WITH_AS(model_config("deit_tinny_patch16_224"),
                       doctest::Contains("The nearest names: deit_tiny_patch16_224"), InputError);
}
TEST_CASE("identify: a VisionTransformer from names and shapes") {
  for (const NamedModel& named : vit_names()) {
    CAPTURE(named.name);
    VitConfig c = vit_config(named.name);
    c.num_classes = 37;
    std::string why;
    const auto id = identify_vit(shapes_of([&](ParamStore& s) { vit_weights(c, s); }), why);
    CHECK(why == "");
    REQUIRE(id);
    CHECK(std::set(id->names.begin(), id->names.end()).count(named.name));
    VitConfig found = id->config;
    found.fc_norm = {};
    CHECK(to_json(found) == to_json(c));
  }
  for (const auto& [name, change] : vit_switches()) {
    CAPTURE_BOUND(name);
    VitConfig c = small_vit();
    change(c);
    std::string why;
    CHECK(identify_vit(shapes_of([&](ParamStore& s) { vit_weights(c, s); }), why));
  }
  std::string why;
  Shapes shapes = shapes_of([](ParamStore& s) { vit_weights(small_vit(), s); });
  shapes["dist_token"] = {1, 1, 6};
  CHECK(!identify_vit(shapes, why));
  CHECK(why.find("distillation token") != std::string::npos);
}
