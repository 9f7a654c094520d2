// An observer of ops notes their results, and puts an op behind each that notes its gradient.
#include "tools/walkthrough/trace.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>

namespace krait::walk {
namespace {

Matrix matrix(Context& ctx, const Tensor& t) {
  Matrix m;
  if (!t) return m;
  m.columns = t.shape(-1);
  m.rows = t.count() / m.columns;
  m.data = ctx.values(t);
  return m;
}

// An op that ran.
struct Seen {
  std::string op, scope;
  std::vector<const void*> from, to;  // where inputs and outputs lie
  std::vector<Value> out;
};

class Recorder : public OpObserver {
 public:
  // Keeps what ops give in the scope of `layer` and outside of the layers; elsewhere what the
  // stream through the layers is made of.
  explicit Recorder(int layer) : layer_(cat("layers.", layer)) {}

  void ran(Context& ctx, const char* op, std::initializer_list<const Tensor*> in,
           std::initializer_list<Tensor*> out) override {
    Seen& s = seen_.emplace_back();
    s.op = op, s.scope = ctx.scope_name();
    const bool here = s.scope == layer_ || s.scope.starts_with(layer_ + ".");
    const bool keep = here || !s.scope.starts_with("layers.") || s.op == "add_norm" ||
                      s.op == "linear" || s.op == "scale_columns";
    s.out.resize(out.size());
    for (const Tensor* t : in) s.from.push_back(t->data());
    size_t k = 0;
    for (Tensor* t : out) {
      s.to.push_back(t->data());
      if (keep) s.out[k].v = value(ctx, *t);
      if (keep && ctx.tape()) note_gradient(ctx, *t, s.out[k].d);
      ++k;
    }
  }

  // The k-th op of that name in a scope.
  Seen& find(const std::string& scope, const std::string& op, int k = 0) {
    for (Seen& s : seen_)
      if (s.scope == scope && s.op == op && k-- == 0) return s;
    throw Error(cat("the model ran no op ", op, " in '", scope, "'"));
  }
  int count(const std::string& scope, const std::string& op) const {
    int n = 0;
    for (const Seen& s : seen_) n += s.scope == scope && s.op == op;
    return n;
  }
  // What was made last before `user` ran, where its k-th input lies; past a rope op: what that op
  // rotated.
  Value made(const Seen& user, size_t k) const {
    size_t at = seen_.size();
    while (&seen_[--at] != &user) {
    }
    const void* where = user.from[k];
    Value v;
    while (where && at-- > 0)
      for (size_t j = 0; j < seen_[at].to.size(); ++j) {
        if (seen_[at].to[j] != where) continue;
        v = seen_[at].out[j];
        where = seen_[at].op == "rope" ? seen_[at].from[0] : nullptr;
        break;
      }
    return v;
  }

 private:
  static Matrix value(Context& ctx, const Tensor& t) {
    return ctx.measuring() ? Matrix() : matrix(ctx, t);
  }
  // t becomes another value of the same memory, whose gradient is noted on its way to t's.
  static void note_gradient(Context& ctx, Tensor& t, Matrix& to) {
    const Tensor before = t;
    ctx.tape()->record("noted", {&before}, {&t},
                       [before = before.place(), &to](Context& ctx, Tape::Step& step) {
                         const auto d = step.into(before);
                         const Tensor& dy = step.dy();
                         if (ctx.measuring()) return;
                         to = matrix(ctx, dy);
                         const int64_t elements = (dy.rows() - 1) * dy.row_stride() + dy.shape(-1);
                         std::memcpy(d.data(), dy.data(), elements * size_of(dy.dtype()));
                       });
  }
  std::string layer_;
  std::deque<Seen> seen_;  // notes keep references into it
};

double rms(const Matrix& m) {
  double s = 0;
  for (const double v : m.data) s += v * v;
  return m ? std::sqrt(s / static_cast<double>(m.data.size())) : 0;
}

Tensor tensor(Context& ctx, const Matrix& m, Shape shape) {
  return ctx.from_values(shape, DType::f32, m.data);
}

// What the model's kernels keep to themselves, from the engine's own ops on the same inputs.
void look_inside(Context& ctx, const VimLayer& p, Trace& t) {
  const VimConfig& c = t.config;
  const int64_t L = t.xz.v.rows, E = c.inner(), N = c.d_state, R = c.rank();
  auto recording = ctx.record_nothing();
  auto work = [&] {
    const Tensor x = tensor(ctx, t.xz.v.part(0, E), {1, L, E});
    for (int k = 0; k < t.sides(); ++k) {
      const int i = std::min(k, t.inputs() - 1);
      const VimLayer::Side& w = p.side[i];
      if (k == i) {
        const std::vector<ConvSide> side = {{w.conv_w.viewed({E, c.d_conv}), w.conv_b, k == 1}};
        t.q[k] = matrix(ctx, conv1d(ctx, x, side, false)[0]);
      }
      const Matrix& dbl = t.x_dbl[i].v;
      const Tensor dt = tensor(ctx, dbl.part(0, R), {1, L, R});
      const Tensor Bm = tensor(ctx, dbl.part(R, R + N), {1, L, N});
      const Tensor Cm = tensor(ctx, dbl.part(R + N, R + 2 * N), {1, L, N});
      const Tensor u = tensor(ctx, t.u[i].v, {1, L, E});
      t.Delta[k] = matrix(ctx, softplus(ctx, linear(ctx, dt, w.dt_w, w.dt_b)));
      const Tensor delta = linear(ctx, dt, w.dt_w), A_log = p.side[k].A_log;
      auto scan = [&](const Tensor& C, const Tensor& D) {
        return matrix(ctx, selective_scan(ctx, {{u, delta, A_log, Bm, C, D, w.dt_b, k == 1}}, {}));
      };
      t.s[k] = scan(Cm, w.D);
      t.h[k] = Matrix(L, E * N);
      for (int64_t n = 0; n < N; ++n) {  // a C that is 1 for state n alone lets it through
        Matrix one(L, N);
        for (int64_t l = 0; l < L; ++l) one(l, n) = 1;
        const Matrix h = scan(tensor(ctx, one, {1, L, N}), {});
        for (int64_t l = 0; l < L; ++l)
          for (int64_t e = 0; e < E; ++e) t.h[k](l, e * N + n) = h(l, e);
      }
    }
  };
  ctx.reserve(ctx.measure(work));
  work();
}

// Takes the named values out of what was seen.
void sort_out(Recorder& seen, const VimConfig& c, Trace& t) {
  const std::string block = cat("layers.", t.layer), mixer = block + ".mixer";
  t.patches = seen.find("", "patch_embed").out[0];
  t.tokens = seen.find("", "place_tokens").out[0];
  Seen& add_norm = seen.find(block, "add_norm");
  t.h_in = seen.made(add_norm, 0), t.r_in = seen.made(add_norm, 1);
  t.shared_input = c.if_bidirectional && t.layer % 2 == 0;
  t.n = add_norm.out[0], t.r = add_norm.out[1];
  int linears = 0;
  t.xz = seen.find(mixer, "linear", linears++).out[0];
  const Seen& conv = seen.find(mixer, "conv1d");
  const Seen& x_proj = seen.find(mixer, "linear", linears++);
  for (int k = 0; k < t.inputs(); ++k) {
    t.u[k] = conv.out[k];
    t.x_dbl[k] = x_proj.out[k];
    t.delta[k] = seen.find(mixer, "linear", linears++).out[0];
  }
  t.v = seen.find(mixer, "selective_scan").out[0];
  t.out = seen.find(mixer, "linear", linears++).out[0];
  t.mixed = t.out;
  if (c.init_layer_scale) t.mixed = seen.find(mixer, "scale_columns").out[0];
  KRAIT_CHECK(seen.count(mixer, "linear") == linears, "the mixer ran more ops than are known here");
  for (int i = 0; i < c.depth; ++i) {
    const std::string scope = cat("layers.", i);
    const Value& r = seen.find(scope, "add_norm").out[1];
    const Value& h = c.init_layer_scale ? seen.find(scope + ".mixer", "scale_columns").out[0]
                                        : seen.find(scope + ".mixer", "linear",
                                                    seen.count(scope + ".mixer", "linear") - 1)
                                              .out[0];
    t.layers.push_back({rms(r.v), rms(h.v), rms(r.d), rms(h.d)});
  }
  Seen& last = seen.find("", "add_norm");
  t.last_h = seen.made(last, 0), t.last_r = seen.made(last, 1), t.feature = last.out[0];
  t.logits = seen.find("head", "linear").out[0];
  const bool most = !c.if_cls_token && c.final_pool_type == "max";
  t.pooled = most ? t.feature : seen.find("head", "mean_tokens").out[0];
  if (most) t.most = seen.find("head", "max_tokens").out[0];
}

}  // namespace

bool Trace::turns() const {
  if (!config.if_rope) return false;
  return !config.if_bidirectional || layer % 2 == 0;  // of a pair, once for both
}
Vector Trace::vector(const std::string& name) const {
  const auto at = weights.find(name);
  return at == weights.end() ? Vector() : at->second.data;
}
std::string Trace::mixer(const std::string& name) const {
  return cat("layers.", layer, ".mixer.", name);
}
Side Trace::side(int k) const {
  const int i = std::min(k, inputs() - 1);
  const std::string end = i ? "_b" : "";
  const int64_t R = config.rank(), N = config.d_state;
  const Matrix& dbl = x_dbl[i].v;
  return {.u = u[i].v,
          .delta = delta[i].v,
          .bias = vector(mixer("dt_proj" + end + ".bias")),
          .A_log = weight(mixer(k ? "A_b_log" : "A_log")),
          .B = dbl.part(R, R + N),
          .C = dbl.part(R + N, R + 2 * N),
          .D = vector(mixer("D" + end)),
          .reverse = k == 1};
}

std::string class_token_at(const VimConfig& c, int64_t token) {
  if (!c.if_cls_token) return "";
  const int64_t P = c.patches();
  if (c.use_double_cls_token)
    return token == 0 ? "cls_token_head" : token == P + 1 ? "cls_token_tail" : "";
  return token == (c.use_middle_cls_token ? P / 2 : 0) ? "cls_token" : "";
}

void check_can_show(const VimConfig& c, int layer) {
  check(c);
  const std::string& pool = c.final_pool_type;
  const bool pools = c.if_cls_token || pool == "mean" || pool == "none" || pool == "max";
  const char* no = c.stem != "patch"          ? "the stem is made of convolutions (stem conv)"
                   : c.mixer_conv != "causal" ? "the mixer's convolution is over the grid"
                   : c.scan_order != "row"    ? "every second layer scans column by column"
                   : !pools                   ? "its final_pool_type is not one of mean, none, max"
                                              : nullptr;
  KRAIT_INPUT(!no, "the walk-through does not show this model: ", no);
  KRAIT_INPUT(c.channels == 3, "the walk-through shows pictures of 3 channels, not ", c.channels);
  KRAIT_INPUT(0 <= layer && layer < c.depth, "there is no layer ", layer,
              ": the model has layers 0 to ", c.depth - 1);
}

Trace trace_model(Context& ctx, const VimConfig& c, ParamStore& store, ParamStore::Role role,
                  const Vector& image, int target, int layer) {
  check_can_show(c, layer);
  Trace t;
  t.config = c, t.layer = layer, t.image = image;
  const RopeTable table = rope_table(ctx, c, DType::f32);
  const Tensor pixels = ctx.persistent({1, c.channels, c.img_size, c.img_size}, DType::f32);
  ctx.set(pixels, image);
  auto logits = [&](const Tensor& images) {
    return vim(ctx, c, vim_weights(c, store), table, images);
  };
  if (target < 0) {
    Vector y;
    auto ask = [&] { y = ctx.values(logits(pixels)); };
    ctx.reserve(ctx.measure(ask));
    ask();
    target = static_cast<int>(std::max_element(y.begin(), y.end()) - y.begin());
  }
  t.target = target;
  Vector one(c.num_classes);
  one.at(target) = 1;
  const Tensor targets = ctx.persistent({1, c.num_classes}, DType::f32);
  ctx.set(targets, one);

  std::optional<Recorder> seen;
  auto work = [&] {
    seen.emplace(layer);
    ctx.fill(store.flat(ParamStore::Role::gradient), 0);
    Tape tape;
    auto recording = ctx.record(tape);
    store.watch(tape);
    Tensor images = pixels;
    tape.watch(images);
    ctx.observe_ops(&*seen);
    const Tensor loss = cross_entropy(ctx, logits(images), targets);
    ctx.observe_ops(nullptr);
    tape.backward(ctx, loss);
    t.loss = ctx.values(loss)[0];
    t.dimage = ctx.values(tape.grad(images));
  };
  ctx.reserve(ctx.measure(work));
  work();
  sort_out(*seen, c, t);
  auto part = [&](ParamStore::Role from, const Param& p) {
    Matrix m;
    m.rows = p.shape[0];
    m.columns = p.shape.count() / m.rows;
    m.data = ctx.values(store.part(from, p));
    return m;
  };
  for (const Param& p : store.all()) {
    t.weights[p.name] = part(role, p);
    t.dweights[p.name] = part(ParamStore::Role::gradient, p);
  }
  look_inside(ctx, vim_weights(c, store).layers[layer], t);
  return t;
}

}  // namespace krait::walk
