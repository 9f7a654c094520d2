// Gradients and behaviour of the depthwise convolution.
#include <algorithm>

#include "tests/support.h"

using namespace krait;

namespace {

// In one tensor, so that the check sees every output.
Tensor both(Context& ctx, const std::vector<Tensor>& y) {
  return y.size() == 1 ? y[0] : add(ctx, y[0], scale_columns(ctx, y[1], [&] {
                                      Tensor two = ctx.empty({y[1].shape(-1)}, DType::f64);
                                      ctx.fill(two, 2);
                                      return two;
                                    }()));
}

}  // namespace

TEST_CASE("conv1d: gradients, one side and two") {
  Context ctx(Backend::cpu, 1 << 20);
  const std::vector<Tensor> in = {random_f64(ctx, {2, 5, 3}, 1), random_f64(ctx, {3, 4}, 2),
                                  random_f64(ctx, {3}, 3), random_f64(ctx, {3, 4}, 4),
                                  random_f64(ctx, {3}, 5)};
  for (bool act : {true, false}) {
    check_gradients(ctx, {in[0], in[1], in[2]}, [&](auto& v) {
      return conv1d(ctx, v[0], {{v[1], v[2], false}}, act)[0];
    });
    check_gradients(ctx, {in[0], in[1]}, [&](auto& v) {
      return conv1d(ctx, v[0], {{v[1], {}, true}}, act)[0];
    });
    check_gradients(ctx, in, [&](auto& v) {
      return both(ctx, conv1d(ctx, v[0], {{v[1], v[2], false}, {v[3], v[4], true}}, act));
    });
  }
}

TEST_CASE("conv1d: gradients when the sides share their taps, and when an output is not used") {
  Context ctx(Backend::cpu, 1 << 20);
  const Tensor x = random_f64(ctx, {1, 6, 2}, 1), w = random_f64(ctx, {2, 3}, 2),
               b = random_f64(ctx, {2}, 3);
  check_gradients(ctx, {x, w, b}, [&](auto& v) {
    return both(ctx, conv1d(ctx, v[0], {{v[1], v[2], false}, {v[1], v[2], true}}));
  });
  for (int used : {0, 1})
    check_gradients(ctx, {x, w, b}, [&](auto& v) {
      return conv1d(ctx, v[0], {{v[1], v[2], false}, {v[1], v[2], true}})[used];
    });
}

TEST_CASE("conv1d: gradients of columns of something wider") {
  Context ctx(Backend::cpu, 1 << 20);
  check_gradients(
      ctx, {random_f64(ctx, {2, 4, 5}, 1), random_f64(ctx, {3, 2}, 2), random_f64(ctx, {2, 2}, 3)},
      [&](auto& v) {
        auto part = split(ctx, silu(ctx, v[0]), {3, 2});
        Tensor a = conv1d(ctx, part[0], {{v[1], {}, false}})[0];
        Tensor c = conv1d(ctx, part[1], {{v[2], {}, true}})[0];
        Tensor sum = ctx.empty({3, 2}, DType::f64);
        ctx.fill(sum, 0.5);
        return add(ctx, linear(ctx, c, sum), a);
      });
}

TEST_CASE("conv1d: a reversed side is the mirror of a causal one") {
  Context ctx(Backend::cpu, 1 << 20);
  const int64_t B = 2, L = 7, E = 3;
  const Tensor x = random_f64(ctx, {B, L, E}, 1), w = random_f64(ctx, {E, 4}, 2),
               b = random_f64(ctx, {E}, 3);
  Tensor flipped = ctx.empty({B, L, E}, DType::f64);
  for (int64_t i = 0; i < B; ++i)
    for (int64_t t = 0; t < L; ++t)
      std::copy_n(x.as<double>() + (i * L + t) * E, E,
                  flipped.as<double>() + (i * L + L - 1 - t) * E);
  const auto y = conv1d(ctx, x, {{w, b, true}}), z = conv1d(ctx, flipped, {{w, b, false}});
  for (int64_t i = 0; i < B; ++i)
    for (int64_t t = 0; t < L; ++t)
      for (int64_t e = 0; e < E; ++e)
        CHECK(y[0].as<double>()[(i * L + t) * E + e] ==
              z[0].as<double>()[(i * L + L - 1 - t) * E + e]);
}

TEST_CASE("conv1d: a wrong shape says so") {
  Context ctx(Backend::cpu, 1 << 20);
  const Tensor x = ctx.empty({2, 3, 5}, DType::f32);
  CHECK_THROWS_WITH_AS(conv1d(ctx, x, {{ctx.empty({4, 4}, DType::f32), {}, false}}),
                       doctest::Contains("w of side 0 is (4, 4) f32, x is (2, 3, 5) f32"), Error);
  CHECK_THROWS_WITH_AS(
      conv1d(ctx, x, {{ctx.empty({5, 4}, DType::f32), ctx.empty({4}, DType::f32), false}}),
      doctest::Contains("b of side 0 is (4)"), Error);
  CHECK_THROWS_AS(conv1d(ctx, x, {}), Error);
}
