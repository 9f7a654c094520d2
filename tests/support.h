// Shared by the tests: random tensors and the check of a gradient against central differences.
#pragma once

#include <cmath>
#include <cstring>
#include <doctest/doctest.h>
#include <functional>
#include <random>

#include "engine/ops/ops.h"

// CAPTURE of a name from a structured binding: clang lets a lambda have those from version 16 on.
#define CAPTURE_BOUND(name)           \
  const auto& captured_##name = name; \
  CAPTURE(captured_##name)

namespace krait {

inline Tensor random_f64(Context& ctx, Shape shape, uint32_t seed, double low = -1,
                         double high = 1) {
  Tensor t = ctx.empty(shape, DType::f64);
  std::mt19937 g(seed);
  std::uniform_real_distribution<double> u(low, high);
  for (int64_t i = 0; i < t.count(); ++i) t.as<double>()[i] = u(g);
  return t;
}

// Compares every gradient of sum(weights * f(inputs)) with a central difference, in f64.
// Twice: gradients added to memory that holds 0.5, and gradients written to memory that holds NaN.
// So an op that overwrites where it should add, or the reverse, is noticed too.
inline void check_gradients(Context& ctx, std::vector<Tensor> in,
                            const std::function<Tensor(std::vector<Tensor>&)>& f,
                            double epsilon = 1e-6) {
  auto project = [&](const Tensor& y, const Tensor& r) {
    double s = 0;
    for (int64_t i = 0; i < y.count(); ++i) s += y.as<double>()[i] * r.as<double>()[i];
    return s;
  };
  // Random weights, always the same: a plain sum hides mistakes of sign and scale.
  auto weights = [&](const Shape& shape) { return random_f64(ctx, shape, 99); };
  auto fill = [](const Tensor& t, double v) {
    for (int64_t i = 0; i < t.count(); ++i) t.as<double>()[i] = v;
  };
  auto poison = [&] {  // all free memory becomes NaN
    const int64_t bytes = static_cast<int64_t>(ctx.arena().size() - ctx.arena().extent()) - 4096;
    std::memset(ctx.arena().base() + ctx.arena().extent(), 0xFF, bytes > 0 ? bytes : 0);
    std::vector<Tensor> holes;  // and every hole below it
    for (int64_t n = 1 << 22; n >= 32; n /= 2)
      while (ctx.arena().used() + n * 8 < ctx.arena().extent()) {
        Tensor t = ctx.empty({n}, DType::f64);
        fill(t, NAN);
        holes.push_back(t);
      }
  };
  auto analytic = [&](bool add) {
    poison();
    Tape tape;
    for (Tensor& t : in) {
      Tensor grad = add ? ctx.empty(t.shape(), DType::f64) : Tensor();
      if (add) fill(grad, 0.5);
      tape.watch(t, grad);
    }
    auto recording = ctx.record(tape);
    Tensor y = f(in), r = weights(y.shape()), loss = ctx.zeros({1}, DType::f64);
    ctx.record_op("project", {&y}, {&loss}, [y, r](Context&, Tape::Step& step) {
      if (auto d = step.into(y))
        for (int64_t i = 0; i < y.count(); ++i)
          d.grad.as<double>()[i] = r.as<double>()[i] + (d.accumulate ? d.grad.as<double>()[i] : 0);
    });
    tape.backward(ctx, loss);
    std::vector<Tensor> grads;
    grads.reserve(in.size());
    for (Tensor& t : in) grads.push_back(tape.grad(t));
    return grads;
  };
  const auto added = analytic(true), written = analytic(false);
  const double h = 1e-5;
  for (size_t k = 0; k < in.size(); ++k)
    for (int64_t i = 0; i < in[k].count(); ++i) {
      double& v = in[k].as<double>()[i];
      const double keep = v;
      v = keep + h;
      Tensor y = f(in);
      const double up = project(y, weights(y.shape()));
      v = keep - h;
      y = f(in);
      const double down = project(y, weights(y.shape()));
      v = keep;
      const double numeric = (up - down) / (2 * h);
      CAPTURE(k);
      CAPTURE(i);
      CHECK(added[k].as<double>()[i] - 0.5 == doctest::Approx(numeric).epsilon(epsilon).scale(1));
      CHECK(written[k].as<double>()[i] == doctest::Approx(numeric).epsilon(epsilon).scale(1));
    }
}

}  // namespace krait
