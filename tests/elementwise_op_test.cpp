// Gradients of the pointwise ops.
#include "tests/support.h"

using namespace krait;

TEST_CASE("silu, softplus, gelu: gradient") {
  Context ctx(Backend::cpu, 1 << 20);
  check_gradients(ctx, {random_f64(ctx, {3, 5}, 1, -4, 4)},
                  [&](auto& in) { return silu(ctx, in[0]); });
  check_gradients(ctx, {random_f64(ctx, {3, 5}, 1, -4, 4)},
                  [&](auto& in) { return softplus(ctx, in[0]); });
  check_gradients(ctx, {random_f64(ctx, {3, 5}, 1, -4, 4)},
                  [&](auto& in) { return gelu(ctx, in[0]); });
}
TEST_CASE("add: gradient, also of a value added to itself") {
  Context ctx(Backend::cpu, 1 << 20);
  check_gradients(ctx, {random_f64(ctx, {3, 5}, 1), random_f64(ctx, {3, 5}, 2)},
                  [&](auto& in) { return add(ctx, silu(ctx, in[0]), add(ctx, in[1], in[1])); });
}
TEST_CASE("scale_columns: gradient") {
  Context ctx(Backend::cpu, 1 << 20);
  check_gradients(ctx, {random_f64(ctx, {4, 3}, 1), random_f64(ctx, {3}, 2)},
                  [&](auto& in) { return scale_columns(ctx, in[0], in[1]); });
}
TEST_CASE("a wrong shape says so") {
  Context ctx(Backend::cpu, 1 << 20);
  CHECK_THROWS_WITH_AS(
      scale_columns(ctx, ctx.empty({3, 5}, DType::f32), ctx.empty({4}, DType::f32)),
      doctest::Contains("s is (4), x is (3, 5)"), Error);
}
