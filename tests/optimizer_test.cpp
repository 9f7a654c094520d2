// The optimisers as the engine runs them, against plain loops in double; clipping, averaging,
// halting, skipping.
#include "engine/optimizer.h"

#include "tests/support.h"

using namespace krait;
using Role = ParamStore::Role;

namespace {

void declare(ParamStore& s) {
  s.get("w", {37, 11}, {Init::normal, 0.5});  // decays
  s.get("norm", {29}, {Init::normal, 0.5});   // does not
  s.get("v", {5, 7}, {Init::normal, 0.5});
}

// A store with all blocks and the step's memory on one device.
struct Training {
  Context ctx;
  ParamStore params{declare};
  Tensor state_memory, result_memory;
  StepState state;
  Training(Backend backend, DType compute) : ctx(backend, 1 << 20) {
    params.allocate(ctx, compute, {.gradients = true, .moments = true, .ema = true});
    params.initialise(ctx, 3);
    state_memory = ctx.persistent({sizeof(StepState)}, DType::u8);
    result_memory = ctx.persistent({sizeof(StepResult)}, DType::u8);
    ctx.state = state_memory.as<StepState>();
  }
  void step(const OptimizerOptions& o, uint64_t step, double lr,
            const std::vector<double>& gradient) {
    dispatch_float(params.flat(Role::gradient).dtype(), [&]<class T>() {
      std::vector<T> g;
      for (double x : gradient) g.push_back(T(static_cast<accum_t<T>>(x)));
      ctx.upload(params.flat(Role::gradient), g.data(), g.size() * sizeof(T));
    });
    set_step(state, o, step, lr);
    ctx.upload(state_memory, &state, sizeof state);
    optimizer_step(ctx, params, o, result_memory.as<StepResult>());
  }
  StepResult result() {
    StepResult r;
    ctx.download(&r, result_memory, sizeof r);
    return r;
  }
  std::vector<double> values(Role role) { return ctx.values(params.flat(role)); }
};

// A gradient for every element; zero in the padding, as the model leaves it.
std::vector<double> gradient(const ParamStore& params, uint32_t seed) {
  std::vector<double> g(params.total(), 0.0);
  std::mt19937 r(seed);
  std::uniform_real_distribution<double> u(-1, 1);
  for (const Param& p : params.all())
    for (int64_t i = 0; i < p.shape.count(); ++i) g[p.offset + i] = static_cast<float>(u(r));
  return g;
}

double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double d = 0, n = 0;
  for (size_t i = 0; i < a.size(); ++i) d += (a[i] - b[i]) * (a[i] - b[i]), n += b[i] * b[i];
  return std::sqrt(d / (n + 1e-300));
}

std::vector<Backend> backends() {
  if (available(Backend::cuda)) return {Backend::cpu, Backend::cuda};
  return {Backend::cpu};
}

}  // namespace

TEST_CASE("adamw: 20 steps are those of a plain loop in double") {
  const OptimizerOptions o{.weight_decay = 0.1, .clip_grad = 5.0, .ema_decay = 0.9};
  for (Backend backend : backends())
    for (DType compute : {DType::f32, DType::bf16, DType::f64}) {
      if (backend == Backend::cuda && compute == DType::f64) continue;
      Training t(backend, compute);
      std::vector<double> p = t.values(Role::master), ema = p, m(p.size()), v(p.size());
      for (uint64_t s = 0; s < 20; ++s) {
        auto g = gradient(t.params, 100 + static_cast<uint32_t>(s));
        if (s > 9)
          for (double& x : g) x *= 0.25;  // these stay below the clipping
        t.step(o, s, 1e-2, g);
        double norm = 0;
        for (double x : g) norm += x * x;
        norm = std::sqrt(norm);
        CHECK(t.result().grad_norm == doctest::Approx(norm).epsilon(1e-6));
        const double scale = std::min(1.0, 5.0 / (norm + 1e-6)), lr = 1e-2;
        CHECK((scale < 1) == (s <= 9));
        for (size_t i = 0; i < p.size(); ++i) {
          const bool decays = static_cast<int64_t>(i) < t.params.decayed();
          if (decays) p[i] *= 1 - lr * 0.1;
          m[i] = 0.9 * m[i] + 0.1 * g[i] * scale;
          v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i] * scale * scale;
          const double n = static_cast<double>(s) + 1;
          p[i] -= lr * (m[i] / (1 - std::pow(0.9, n))) /
                  (std::sqrt(v[i] / (1 - std::pow(0.999, n))) + 1e-8);
          ema[i] = 0.9 * ema[i] + 0.1 * p[i];
        }
      }
      CHECK(distance(t.values(Role::master), p) < 1e-6);
      CHECK(distance(t.values(Role::ema), ema) < 1e-6);
      CHECK(distance(t.values(Role::moment1), m) < 1e-5);
      CHECK(distance(t.values(Role::moment2), v) < 1e-5);
      for (double x : t.values(Role::gradient)) CHECK(x == 0);
      if (compute == DType::bf16) {
        const auto copy = t.values(Role::copy), master = t.values(Role::master);
        for (size_t i = 0; i < copy.size(); ++i)
          CHECK(copy[i] == double(bf16(static_cast<float>(master[i]))));
      }
    }
}

TEST_CASE("adamw: a gradient that is not finite stops all later steps, and is cleared") {
  const OptimizerOptions o{.ema_decay = 0.9};
  for (Backend backend : backends())
    for (double bad : {NAN, INFINITY, -INFINITY}) {
      Training t(backend, DType::bf16);
      const auto good = gradient(t.params, 1);
      t.step(o, 0, 1e-2, good);
      CHECK(t.result().halted == 0);
      std::vector<std::vector<double>> before;
      const auto all = {Role::master, Role::moment1, Role::moment2, Role::ema, Role::copy};
      for (Role r : all) before.push_back(t.values(r));
      auto g = good;
      g[17] = bad;
      t.step(o, 1, 1e-2, g);
      CHECK(t.result().halted == 1);
      CHECK(!std::isfinite(t.result().grad_norm));
      t.step(o, 2, 1e-2, good);  // good again, but too late
      CHECK(t.result().halted == 1);
      CHECK(std::isfinite(t.result().grad_norm));
      size_t k = 0;
      for (Role r : all) CHECK(t.values(r) == before[k++]);
      for (double x : t.values(Role::gradient)) CHECK(x == 0);
    }
}

TEST_CASE("adamw: no clipping and no average when none is asked for") {
  Training t(Backend::cpu, DType::f32);
  const auto ema = t.values(Role::ema), p = t.values(Role::master);
  t.step({.weight_decay = 0}, 0, 1e-3, gradient(t.params, 1));
  CHECK(t.values(Role::ema) == ema);
  const auto after = t.values(Role::master);
  // Adam's first step is lr in size, whatever the gradient's.
  for (const Param& q : t.params.all())
    CHECK(std::abs(after[q.offset] - p[q.offset]) == doctest::Approx(1e-3).epsilon(1e-3));
}

TEST_CASE("adamw: Adam's corrections") {
  StepState s;
  set_step(s, {}, 0, 0.25);
  CHECK(s.lr == 0.25f);
  CHECK(s.correction1 == doctest::Approx(10));
  CHECK(s.correction2 == doctest::Approx(1000));
  set_step(s, {}, 99999, 0.25);
  CHECK(s.step == 99999);
  CHECK(s.correction1 == 1);
  CHECK(s.correction2 == doctest::Approx(1));
}

TEST_CASE("sgd and adam: 20 steps are those of PyTorch's formulas in double") {
  using Kind = OptimizerOptions::Kind;
  struct Way {
    Kind kind;
    double momentum;
    bool nesterov;
  };
  for (const Way way : {Way{Kind::sgd, 0.9, true}, Way{Kind::sgd, 0.9, false},
                        Way{Kind::sgd, 0, true}, Way{Kind::adam, 0, false}})
    for (Backend backend : backends())
      for (DType compute : {DType::f32, DType::bf16, DType::f64}) {
        if (backend == Backend::cuda && compute == DType::f64) continue;
        const OptimizerOptions o{.kind = way.kind,
                                 .momentum = way.momentum,
                                 .nesterov = way.nesterov,
                                 .weight_decay = 0.1,
                                 .clip_grad = 5.0,
                                 .ema_decay = 0.9,
                                 .ema_warmup = true};
        Training t(backend, compute);
        std::vector<double> p = t.values(Role::master), ema = p, m(p.size()), v(p.size());
        for (uint64_t s = 0; s < 20; ++s) {
          const auto g = gradient(t.params, 300 + static_cast<uint32_t>(s));
          t.step(o, s, 1e-2, g);
          double norm = 0;
          for (double x : g) norm += x * x;
          const double scale = std::min(1.0, 5.0 / (std::sqrt(norm) + 1e-6));
          const double n = static_cast<double>(s) + 1, d = std::min(0.9, n / (9 + n));
          for (size_t i = 0; i < p.size(); ++i) {
            double x = g[i] * scale;
            if (static_cast<int64_t>(i) < t.params.decayed()) x += 0.1 * p[i];
            if (way.kind == Kind::sgd) {
              m[i] = s == 0 ? x : way.momentum * m[i] + x;
              p[i] -= 1e-2 * (way.nesterov ? x + way.momentum * m[i] : m[i]);
            } else {
              m[i] = 0.9 * m[i] + 0.1 * x;
              v[i] = 0.999 * v[i] + 0.001 * x * x;
              p[i] -= 1e-2 * (m[i] / (1 - std::pow(0.9, n))) /
                      (std::sqrt(v[i] / (1 - std::pow(0.999, n))) + 1e-8);
            }
            ema[i] = d * ema[i] + (1 - d) * p[i];
          }
        }
        CHECK(distance(t.values(Role::master), p) < 1e-6);
        CHECK(distance(t.values(Role::ema), ema) < 1e-6);
        CHECK(distance(t.values(Role::moment1), m) < 1e-5);
        for (double x : t.values(Role::gradient)) CHECK(x == 0);
        if (compute != DType::bf16) continue;
        const auto copy = t.values(Role::copy), master = t.values(Role::master);
        for (size_t i = 0; i < copy.size(); ++i)
          CHECK(copy[i] == double(bf16(static_cast<float>(master[i]))));
      }
}

TEST_CASE("optimizer: a gradient that is not finite can be skipped, for one step") {
  using Kind = OptimizerOptions::Kind;
  for (Kind kind : {Kind::adamw, Kind::sgd})
    for (Backend backend : backends()) {
      const OptimizerOptions o{.kind = kind, .skip_not_finite = true};
      Training t(backend, DType::f32);
      const auto good = gradient(t.params, 1);
      auto bad = good;
      bad[17] = NAN;
      t.step(o, 0, 1e-2, good);
      const auto before = t.values(Role::master), moment = t.values(Role::moment1);
      t.step(o, 1, 1e-2, bad);
      CHECK(t.result().halted == 1);
      CHECK(t.values(Role::master) == before);
      CHECK(t.values(Role::moment1) == moment);
      t.step(o, 2, 1e-2, good);
      CHECK(t.result().halted == 0);
      CHECK(t.values(Role::master) != before);
    }
}
