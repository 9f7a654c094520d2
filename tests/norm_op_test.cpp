// Gradients of add_norm with every optional part left out in turn, and what it does with memory.
#include "tests/support.h"

using namespace krait;

namespace {

enum Use { y_only, residual_only, both };
// The outputs that are used, as one tensor.
Tensor use(Context& ctx, const Normed& n, Use which) {
  if (which == y_only) return n.y;
  if (which == residual_only) return n.residual;
  return add(ctx, n.y, silu(ctx, n.residual));
}

}  // namespace

TEST_CASE("add_norm: gradients") {
  Context ctx(Backend::cpu, 1 << 20);
  const Shape shape{2, 3, 5};
  for (Norm norm : {Norm::rms, Norm::layer})
    for (Use which : {y_only, both}) {
      auto x = random_f64(ctx, shape, 1), r = random_f64(ctx, shape, 2);
      auto w = random_f64(ctx, {5}, 3, 0.5, 1.5), b = random_f64(ctx, {5}, 4);
      check_gradients(ctx, {x, r, w, b}, [&](auto& in) {
        return use(ctx, add_norm(ctx, norm, in[0], in[1], in[2], in[3], 1e-5, DType::f64), which);
      });
      check_gradients(ctx, {x, r, w}, [&](auto& in) {
        return use(ctx, add_norm(ctx, norm, in[0], in[1], in[2], {}, 1e-5, DType::f64), which);
      });
      check_gradients(ctx, {x, w, b}, [&](auto& in) {
        return use(ctx, add_norm(ctx, norm, in[0], {}, in[1], in[2], 1e-5, DType::f64), which);
      });
      check_gradients(ctx, {r, w, b}, [&](auto& in) {
        return use(ctx, add_norm(ctx, norm, {}, in[0], in[1], in[2], 1e-5, DType::f64), which);
      });
    }
}
TEST_CASE("add_norm: rotates the sum as rope rotates both, with the same gradients") {
  Context ctx(Backend::cpu, 1 << 20);
  const Shape shape{2, 4, 6};
  auto x = random_f64(ctx, shape, 1), r = random_f64(ctx, shape, 2);
  auto w = random_f64(ctx, {6}, 3, 0.5, 1.5), b = random_f64(ctx, {6}, 4);
  for (int64_t P : {4, 3}) {
    const Tensor cos = random_f64(ctx, {P, 6}, 5), sin = random_f64(ctx, {P, 6}, 6);
    auto fused = [&](const Tensor& x, const Tensor& r, Norm norm) {
      return add_norm(ctx, norm, x, r, w, b, 1e-5, DType::f64, cos, sin);
    };
    auto turned = [&](const Tensor& t) { return t ? rope(ctx, t, cos, sin) : t; };
    for (const auto& [a, c] : {std::pair{x, r}, std::pair{x, Tensor()}, std::pair{Tensor(), r}}) {
      const Normed n = fused(a, c, Norm::layer);
      const Normed want = add_norm(ctx, Norm::layer, turned(a), turned(c), w, b, 1e-5, DType::f64);
      for (int64_t i = 0; i < x.count(); ++i) {
        CHECK(n.y.as<double>()[i] == doctest::Approx(want.y.as<double>()[i]));
        CHECK(n.residual.as<double>()[i] == doctest::Approx(want.residual.as<double>()[i]));
      }
    }
    for (Norm norm : {Norm::rms, Norm::layer}) {
      check_gradients(ctx, {x, r},
                      [&](auto& in) { return use(ctx, fused(in[0], in[1], norm), both); });
      check_gradients(ctx, {x}, [&](auto& in) { return use(ctx, fused(in[0], {}, norm), y_only); });
      check_gradients(ctx, {r}, [&](auto& in) { return use(ctx, fused({}, in[0], norm), both); });
    }
  }
}
TEST_CASE("add_norm: gradients when only the sum is used") {
  Context ctx(Backend::cpu, 1 << 20);
  const Tensor w = random_f64(ctx, {5}, 3, 0.5, 1.5);
  check_gradients(ctx, {random_f64(ctx, {4, 5}, 1), random_f64(ctx, {4, 5}, 2)}, [&](auto& in) {
    return use(ctx, add_norm(ctx, Norm::rms, in[0], in[1], w, {}, 1e-5, DType::f64), residual_only);
  });
}
TEST_CASE("add_norm: gradients when an input that is passed through has other uses") {
  Context ctx(Backend::cpu, 1 << 20);
  check_gradients(
      ctx, {random_f64(ctx, {4, 5}, 1), random_f64(ctx, {5}, 3, 0.5, 1.5)}, [&](auto& in) {
        Tensor r = silu(ctx, in[0]);
        Normed n = add_norm(ctx, Norm::layer, {}, r, in[1], {}, 1e-5, DType::f64);
        Normed m = add_norm(ctx, Norm::rms, n.y, n.residual, in[1], {}, 1e-5, DType::f64);
        return add(ctx, add(ctx, m.y, r), add(ctx, m.residual, n.residual));
      });
}
TEST_CASE("add_norm: nothing is copied where nothing is added") {
  Context ctx(Backend::cpu, 1 << 20);
  Tensor h = ctx.zeros({4, 6}, DType::f32), w = ctx.zeros({6}, DType::f32);
  CHECK(add_norm(ctx, Norm::rms, {}, h, w, {}, 1e-5, DType::bf16).residual.data() == h.data());
  CHECK(add_norm(ctx, Norm::rms, h, {}, w, {}, 1e-5, DType::bf16).residual.data() == h.data());
  Tensor half = ctx.zeros({4, 6}, DType::bf16);
  Normed n = add_norm(ctx, Norm::rms, half, {}, w, {}, 1e-5, DType::bf16);
  CHECK(n.residual.dtype() == DType::f32);
  CHECK(n.y.dtype() == DType::bf16);
}
TEST_CASE("add_norm: normalises") {
  Context ctx(Backend::cpu, 1 << 20);
  const int64_t rows = 3, D = 67;
  Tensor x = random_f64(ctx, {rows, D}, 1, 3, 9), w = ctx.empty({D}, DType::f64);
  ctx.fill(w, 1);
  for (Norm norm : {Norm::rms, Norm::layer}) {
    Tensor y = add_norm(ctx, norm, x, x, w, {}, 0, DType::f64).y;
    for (int64_t r = 0; r < rows; ++r) {
      double sum = 0, square = 0;
      for (int64_t d = 0; d < D; ++d) {
        const double v = y.as<double>()[r * D + d];
        sum += v;
        square += v * v;
      }
      CHECK(square / D == doctest::Approx(1));
      if (norm == Norm::layer) CHECK(sum / D == doctest::Approx(0).scale(1));
    }
  }
}
TEST_CASE("add_norm: wrong arguments say so") {
  Context ctx(Backend::cpu, 1 << 20);
  Tensor x = ctx.zeros({4, 6}, DType::f32), w = ctx.zeros({5}, DType::f32);
  CHECK_THROWS_WITH_AS(add_norm(ctx, Norm::rms, x, {}, w, {}, 1e-5, DType::f32),
                       doctest::Contains("w is (5)"), Error);
  CHECK_THROWS_WITH_AS(add_norm(ctx, Norm::rms, {}, {}, w, {}, 1e-5, DType::f32),
                       doctest::Contains("neither"), Error);
  Tensor tokens = ctx.zeros({2, 4, 5}, DType::f32), cos = ctx.zeros({4, 5}, DType::f32);
  CHECK_THROWS_WITH_AS(add_norm(ctx, Norm::rms, tokens, {}, w, {}, 1e-5, DType::f32, cos, cos),
                       doctest::Contains("cos is (4, 5)"), Error);
}
