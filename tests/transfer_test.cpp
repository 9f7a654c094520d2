// Weights of one model as the start of another: position embeddings, class tokens, heads, patches;
// and the state of PyTorch's optimisers, mapped to names.
#include "models/transfer.h"

#include <set>

#include "engine/io/pth_training.h"
#include "models/patch_resample.h"
#include "models/vim/pos_embed.h"
#include "tests/files.h"
#include "tests/vim_model.h"

using namespace krait;
using Values = std::vector<double>;
using PosEmbed = TransferOptions::PosEmbed;

namespace {

const std::string golden = KRAIT_SOURCE_DIR "/tests/golden/";

// A store with a position embedding of `rows` and a head of `classes`, and what else is asked for.
ParamStore store(int64_t rows, int64_t D, int64_t classes = 3,
                 const std::vector<std::string>& tokens = {}) {
  return ParamStore([=](ParamStore& s) {
    for (const std::string& name : tokens) s.get(name, {1, 1, D}, {Init::normal, 1}, true);
    s.get("pos_embed", {1, rows, D}, {Init::normal, 1}, true);
    s.get("patch_embed.proj.weight", {D, 3, 4, 4}, {Init::normal, 1});
    s.get("head.weight", {classes, D}, {Init::normal, 1});
    s.get("head.bias", {classes}, {Init::normal, 1}, true);
  });
}

struct Started {
  OneThread alone;
  Context ctx{Backend::cpu};
  ParamStore params;
  explicit Started(ParamStore s, uint64_t seed = 1) : params(std::move(s)) {
    params.allocate(ctx, DType::f32, {.ema = true});
    params.initialise(ctx, seed);
  }
  Values values(const std::string& name, Role role = Role::master) {
    return ctx.values(params.part(role, *params.find(name)));
  }
  Checkpoint checkpoint() {
    Checkpoint c;
    c.path = "file";
    for (const Param& p : params.all())
      c.content.tensors.emplace_back(
          p.name, StoredTensor::f32({p.shape.dim.begin(), p.shape.dim.begin() + p.shape.rank},
                                    values(p.name)));
    return c;
  }
};

Values row(const Values& all, int64_t r, int64_t D) {
  return {all.begin() + r * D, all.begin() + (r + 1) * D};
}
Values without_row(Values all, int64_t r, int64_t D) {
  all.erase(all.begin() + r * D, all.begin() + (r + 1) * D);
  return all;
}
Values floats(Values v) {
  for (double& x : v) x = static_cast<float>(x);
  return v;
}
void check_close(const Values& a, const Values& b, double epsilon) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
  CHECK(worst < epsilon);
}

}  // namespace

TEST_CASE("transfer: a position embedding with a class token in the middle, on another grid") {
  const SafeTensors f = read_safetensors(golden + "op_pos_embed_resize_4to8.safetensors");
  const int64_t D = 12;
  const Values grid = f.at("in.x").values(), right = f.at("out.y").values();
  Values with_token = grid;  // its row, number 8, stands out
  with_token.insert(with_token.begin() + 8 * D, D, 77.0);
  Started to(store(65, D, 3, {"cls_token"}));
  Checkpoint from = Started(store(17, D, 3, {"cls_token"}), 2).checkpoint();
  for (auto& [name, t] : from.content.tensors)
    if (name == "pos_embed") t = StoredTensor::f32({1, 17, D}, with_token);
  TransferOptions o{.from = {16, {8}}, .to = {64, {32}}};
  const Transfer done = transfer_weights(to.ctx, from, to.params, o);
  CHECK(done.text() ==
        "  loaded as they are: 4 tensors\n"
        "  resized: pos_embed, 4 x 4 -> 8 x 8 patches (bicubic)\n");
  const Values pos = to.values("pos_embed");
  CHECK(row(pos, 32, D) == Values(D, 77.0));
  check_close(without_row(pos, 32, D), right, 2e-6);
  CHECK(to.values("pos_embed", Role::ema) == pos);
  CHECK(to.values("cls_token") == from.content.at("cls_token").values());

  // As the published code does it: the first row for the class token's, the rest for the grid.
  o.pos_embed = PosEmbed::published;
  transfer_weights(to.ctx, from, to.params, o);
  const Values shifted = to.values("pos_embed");
  CHECK(row(shifted, 0, D) == row(with_token, 0, D));
  CHECK(without_row(shifted, 0, D) ==
        floats(resize_pos_embed(without_row(with_token, 0, D), 4, 8, D)));

  // On the same grid both leave it as it is.
  Started same(store(17, D, 3, {"cls_token"}));
  for (const PosEmbed how : {PosEmbed::grid, PosEmbed::published}) {
    o = {.from = {16, {8}}, .to = {16, {8}}, .pos_embed = how};
    CHECK(transfer_weights(same.ctx, from, same.params, o).loaded == 5);
    CHECK(same.values("pos_embed") == floats(with_token));
  }
}

TEST_CASE("transfer: class tokens that come, go and move") {
  const int64_t D = 4;
  Started none(store(16, D), 2), first(store(17, D, 3, {"cls_token"}), 3),
      both(store(18, D, 3, {"cls_token_head", "cls_token_tail"}), 4);
  const Values plain = none.values("pos_embed"), headed = first.values("pos_embed");
  {
    Started to(store(17, D, 3, {"cls_token"}));
    const Values start = to.values("pos_embed"), token = to.values("cls_token");
    const Transfer done =
        transfer_weights(to.ctx, none.checkpoint(), to.params, {.from = {16, {}}, .to = {16, {8}}});
    CHECK(done.fresh == std::vector<std::string>{"cls_token (1, 1, 4)"});
    CHECK(done.resized == std::vector<std::string>{"pos_embed, 0 -> 1 class tokens"});
    CHECK(row(to.values("pos_embed"), 8, D) == row(start, 8, D));
    CHECK(without_row(to.values("pos_embed"), 8, D) == plain);
    CHECK(to.values("cls_token") == token);
  }
  {
    Started to(store(16, D));
    const Transfer done = transfer_weights(to.ctx, first.checkpoint(), to.params,
                                           {.from = {16, {0}}, .to = {16, {}}});
    CHECK(done.dropped == std::vector<std::string>{"cls_token (1, 1, 4)"});
    CHECK(to.values("pos_embed") == without_row(headed, 0, D));
  }
  {
    Started to(store(17, D, 3, {"cls_token"}));
    const Transfer done = transfer_weights(to.ctx, first.checkpoint(), to.params,
                                           {.from = {16, {0}}, .to = {16, {8}}});
    CHECK(done.resized == std::vector<std::string>{"pos_embed, class token moved"});
    CHECK(row(to.values("pos_embed"), 8, D) == row(headed, 0, D));
    CHECK(without_row(to.values("pos_embed"), 8, D) == without_row(headed, 0, D));
  }
  {
    Started to(store(11, D, 3, {"cls_token_head", "cls_token_tail"}));
    const Values before = both.values("pos_embed");
    transfer_weights(to.ctx, both.checkpoint(), to.params,
                     {.from = {16, {0, 17}}, .to = {9, {0, 10}}});
    const Values pos = to.values("pos_embed");
    CHECK(row(pos, 0, D) == row(before, 0, D));
    CHECK(row(pos, 10, D) == row(before, 17, D));
    const Values grid = resize_pos_embed({before.begin() + D, before.end() - D}, 4, 3, D);
    CHECK(Values(pos.begin() + D, pos.end() - D) == floats(grid));
  }
  CHECK(
      input_error([&] {
        Started to(store(16, D));
        transfer_weights(to.ctx, first.checkpoint(), to.params, {.from = {17, {}}, .to = {16, {}}});
      }) == "file: pos_embed: 17 patches are no square");
}

TEST_CASE("transfer: a head for other classes is new; rotation tables are computed") {
  Started from(store(16, 4, 5), 2), to(store(16, 4, 3));
  const Values head = to.values("head.weight"), bias = to.values("head.bias");
  Checkpoint c = from.checkpoint();
  c.content.tensors.emplace_back("rope.freqs_cos", StoredTensor::f32({1, 4}, {1, 1, 1, 1}));
  c.content.tensors.emplace_back("head_dist.weight", StoredTensor::f32({1}, {1}));
  c.content.tensors.emplace_back("optimizer.m.head.bias", StoredTensor::f32({1}, {1}));
  const TransferOptions o{.from = {16, {}}, .to = {16, {}}};
  CHECK(transfer_weights(to.ctx, c, to.params, o).text() ==
        "  loaded as they are: 2 tensors\n"
        "  new: head.weight (3, 4); head.bias (3)\n"
        "  dropped: head.weight (5, 4); head.bias (5); head_dist.weight (1)\n"
        "  computed anew: rope.freqs_cos (1, 4)\n");
  CHECK(to.values("head.weight") == head);
  CHECK(to.values("head.bias") == bias);
  CHECK(to.values("pos_embed") == from.values("pos_embed"));
  CHECK(to.values("patch_embed.proj.weight", Role::ema) == from.values("patch_embed.proj.weight"));
}

TEST_CASE("transfer: what is of another model is refused, and changes nothing") {
  Started from(store(16, 4, 5), 2), to(store(16, 4, 3));
  const Values before = to.ctx.values(to.params.flat(Role::master));
  const TransferOptions o{.from = {16, {}}, .to = {16, {}}};
  auto refused = [&](const Checkpoint& c) {
    return input_error([&] { transfer_weights(to.ctx, c, to.params, o); });
  };
  Checkpoint c = from.checkpoint();
  c.content.tensors.emplace_back("layers.0.norm.weight", StoredTensor::f32({1}, {1}));
  CHECK(refused(c) ==
        "file: is of another model: layers.0.norm.weight (1) is not in this model; 1 name differs");
  c = from.checkpoint();
  std::erase_if(c.content.tensors, [](auto& t) { return t.first.starts_with("patch"); });
  CHECK(refused(c) ==
        "file: is of another model: patch_embed.proj.weight (4, 3, 4, 4) is not in the file; 1 "
        "name differs");
  CHECK(refused(Started(store(16, 8, 3), 2).checkpoint()).find("; 2 names differ") !=
        std::string::npos);
  c = from.checkpoint();
  c.content.tensors.resize(1);
  c.content.tensors[0].first = "x";
  CHECK(refused(c).find("none of this model's 4 parameters") != std::string::npos);
  c = from.checkpoint();
  c.content.tensors[1].second = StoredTensor::f32({4, 3, 8, 8}, Values(768));
  CHECK(refused(c) ==
        "file: has patches of 8 pixels, this model of 4; --resample-patches converts them");
  CHECK(to.ctx.values(to.params.flat(Role::master)) == before);
}

TEST_CASE("transfer: the average instead of the weights") {
  Started from(store(16, 4), 2), to(store(16, 4));
  Checkpoint c = from.checkpoint();
  CHECK(input_error([&] { take_average(c); }) == "file: has no average of its weights (EMA)");
  for (auto [name, t] : from.checkpoint().content.tensors) {
    for (size_t i = 0; i < t.bytes.size(); ++i) t.bytes[i] = std::byte{0};
    c.content.tensors.emplace_back(cat("ema.", name), t);
  }
  take_average(c);
  transfer_weights(to.ctx, c, to.params, {.from = {16, {}}, .to = {16, {}}});
  for (const char* name : {"pos_embed", "head.weight"})
    for (const double v : to.values(name)) CHECK(v == 0);
}

TEST_CASE("patches: resampled weights give what the patches gave before they were scaled") {
  std::mt19937 g(1);
  std::uniform_real_distribution<double> u(-1, 1);
  // What one row of pixels is, scaled bilinearly; smaller: averaged with a triangle.
  auto scaled = [](const Values& x, int to) {
    const double step = static_cast<double>(x.size()) / to, reach = std::max(1.0, step);
    Values y(to);
    for (int i = 0; i < to; ++i) {
      double weights = 0;
      for (size_t j = 0; j < x.size(); ++j) {
        const double w =
            std::max(0.0, 1 - std::abs(static_cast<double>(j) + 0.5 - (i + 0.5) * step) / reach);
        y[i] += w * x[j];
        weights += w;
      }
      y[i] /= weights;
    }
    return y;
  };
  auto random = [&](int n) {
    Values v(n);
    for (double& x : v) x = u(g);
    return v;
  };
  auto dot = [](const Values& w, const Values& rows, const Values& columns) {
    double s = 0;
    for (size_t i = 0; i < rows.size(); ++i)
      for (size_t j = 0; j < columns.size(); ++j)
        s += w[i * columns.size() + j] * rows[i] * columns[j];
    return s;
  };
  for (const auto& [from, to] : {std::pair(4, 8), {4, 5}, {7, 16}, {16, 16}, {1, 3}}) {
    const Values w = random(2 * from * from), large = resample_patches(w, from, to, 2);
    REQUIRE(large.size() == static_cast<size_t>(2 * to * to));
    for (int trial = 0; trial < 3; ++trial) {  // pictures that are a column times a row
      const Values a = random(from), b = random(from);
      for (int k = 0; k < 2; ++k)
        CHECK(dot({large.begin() + k * to * to, large.end()}, scaled(a, to), scaled(b, to)) ==
              doctest::Approx(dot({w.begin() + k * from * from, w.end()}, a, b)).epsilon(1e-9));
    }
  }
  // Smaller: least squares. Along one side: R^T w' is as near to w as it can be.
  const int from = 8, to = 3;
  const Values w = random(from), ones(from, 1.0);
  Values outer(from * from);
  for (int i = 0; i < from; ++i)
    for (int j = 0; j < from; ++j) outer[i * from + j] = w[i];
  const Values small = resample_patches(outer, from, to, 1);  // column times what ones become
  auto distance = [&](const Values& column) {                 // |R^T column - w|^2, by unit vectors
    double s = 0;
    for (int j = 0; j < from; ++j) {
      Values unit(from);
      unit[j] = 1;
      const Values r = scaled(unit, to);
      double at = -w[j];
      for (int i = 0; i < to; ++i) at += r[i] * column[i];
      s += at * at;
    }
    return s;
  };
  const Values of_ones = resample_patches(Values(from * from, 1.0), from, to, 1);
  Values column(to);
  // Both are outer products with the same second factor; a constant's own column scales it.
  for (int i = 0; i < to; ++i) column[i] = small[i * to] / std::sqrt(of_ones[0]);
  const double best = distance(column);
  for (int i = 0; i < to; ++i)
    for (const double h : {-1e-3, 1e-3}) {
      Values moved = column;
      moved[i] += h;
      CHECK(distance(moved) > best);
    }
}

namespace {

PthValue integer_list(const std::vector<int64_t>& v) {
  PthValue list;
  list.kind = PthValue::Kind::list;
  for (const int64_t x : v) list.items.push_back(PthValue::of(x));
  return list;
}

// A training checkpoint as the published trainer writes it: timm's two groups, those without decay
// first. Every tensor holds one number of its own.
struct Written {
  PthValue model = PthValue::dict(), state = PthValue::dict(), groups, decayed = PthValue::dict(),
           plain = PthValue::dict();
  std::map<std::string, double> number;  // of a parameter's exp_avg; exp_avg_sq: + 0.5

  Written() {
    const std::vector<std::pair<std::string, std::vector<int64_t>>> shapes = {
        {"cls_token", {1, 1, 2}},   {"pos_embed", {1, 4, 2}}, {"patch_embed.proj.weight", {2, 3}},
        {"rope.freqs_cos", {4, 2}}, {"head.weight", {3, 2}},  {"head.bias", {3}},
        {"layers.0.A_log", {2, 2}}, {"norm_f.weight", {2}}};
    const std::set<std::string> decays = {"patch_embed.proj.weight", "head.weight",
                                          "layers.0.A_log"};
    groups.kind = PthValue::Kind::list;
    std::vector<int64_t> first, second;
    for (const bool decay : {false, true})
      for (const auto& [name, shape] : shapes) {
        if (name.starts_with("rope") || decays.count(name) != decay) continue;
        const auto k = static_cast<int64_t>(first.size() + second.size());
        (decay ? second : first).push_back(k);
        number[name] = static_cast<double>(k) + 10;
        add_state(k, shape, static_cast<double>(k) + 10);
      }
    for (const auto& [name, shape] : shapes) model.add(name, filled(shape, 1));
    plain.add("weight_decay", PthValue::of(0.0)).add("params", integer_list(first));
    decayed.add("weight_decay", PthValue::of(0.05)).add("params", integer_list(second));
    groups.items = {plain, decayed};
  }
  static PthValue filled(const std::vector<int64_t>& shape, double v) {
    int64_t n = 1;
    for (const int64_t d : shape) n *= d;
    return PthValue::of(StoredTensor::f32(shape, Values(n, v)));
  }
  void add_state(int64_t k, const std::vector<int64_t>& shape, double v, int64_t step = 30) {
    PthValue one = PthValue::dict();
    one.add("step", PthValue::of(step))
        .add("exp_avg", filled(shape, v))
        .add("exp_avg_sq", filled(shape, v + 0.5));
    state.items.push_back(PthValue::of(k));
    state.items.push_back(one);
  }
  PthTraining read(const TemporaryFolder& folder, bool epoch = true) const {
    PthValue optimizer = PthValue::dict(), all = PthValue::dict();
    optimizer.add("state", state).add("param_groups", groups);
    all.add("model", model).add("optimizer", optimizer);
    if (epoch) all.add("epoch", PthValue::of(int64_t{4}));
    write_pth(folder / "a.pth", all);
    return read_pth_training(folder / "a.pth");
  }
};

}  // namespace

TEST_CASE("pth: timm's groups of the optimiser, those without decay first, are mapped to names") {
  const TemporaryFolder folder;
  const Written w;
  const PthTraining t = w.read(folder);
  CHECK(t.no_progress == "");
  REQUIRE(t.progress);
  CHECK(t.progress->epochs == 5);
  CHECK(t.progress->optimizer_steps == 30);
  CHECK(w.number.size() == 7);
  for (const auto& [name, v] : w.number) {
    CAPTURE_BOUND(name);
    CHECK(t.content.at("optimizer.m." + name).values()[0] == v);
    CHECK(t.content.at("optimizer.v." + name).values()[0] == v + 0.5);
    CHECK(t.content.at("optimizer.m." + name).shape == t.content.at(name).shape);
  }
  CHECK(t.content.tensors.size() == 8 + 2 * 7);
}

TEST_CASE("pth: an optimiser's state that is not understood is left out, with the reason") {
  const TemporaryFolder folder;
  auto why = [&](const std::function<void(Written&)>& change) {
    Written w;
    change(w);
    const PthTraining t = w.read(folder);
    CHECK(!t.progress);
    CHECK(t.content.tensors.size() == 8);
    return t.no_progress;
  };
  CHECK(why([](Written& w) { w.state.items.resize(2); }).find("has no state of ") !=
        std::string::npos);
  CHECK(why([](Written& w) {
          w.state.items.resize(w.state.items.size() - 2);
          w.add_state(6, {2, 2}, 1, 29);
        }) == "its parameters have taken different numbers of steps");
  CHECK(why([](Written& w) {
          w.state.items.resize(w.state.items.size() - 2);
          w.add_state(6, {2, 3}, 1);
        }) == "its optimiser has no exp_avg of layers.0.A_log, or one of another shape");
  CHECK(why([](Written& w) { w.groups.items.pop_back(); }) ==
        "a group of its optimiser has 4 parameters, not 7");
  CHECK(why([](Written& w) { w.groups.items[0] = w.groups.items[1]; }) ==
        "its optimiser's groups share a parameter");
  CHECK(why([](Written& w) {
          PthValue on = PthValue::of(int64_t{1});
          on.kind = PthValue::Kind::boolean;
          w.groups.items[0].add("amsgrad", on);
        }) == "its optimiser is AMSGrad");
  CHECK(why([](Written& w) { w.groups = PthValue::dict(); }) ==
        "its optimiser's state has no proper param_groups");
  CHECK(why([](Written& w) { w.groups.items[1] = PthValue::dict(); }) ==
        "a number in its optimiser's groups is none");
  CHECK(why([](Written& w) { w.groups.items[1] = PthValue::of(int64_t{1}); }) ==
        "a number in its optimiser's groups is none");
  CHECK(why([](Written& w) {
          for (size_t i = 1; i < w.state.items.size(); i += 2)
            w.state.items[i] = PthValue::of(std::string("x"));
        }) == "its optimiser's step is no number");
  CHECK(Written().read(folder, false).no_progress == "does not say which epoch it is of");
}
