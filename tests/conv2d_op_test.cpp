// Gradients and behaviour of the convolutions over pictures and grids, and of the transposition.
#include "tests/support.h"

using namespace krait;

TEST_CASE("conv2d: gradients for several sizes, strides and borders, in every row for f64") {
  for (const char* row : {"gather_blas", "reference"}) {
    CAPTURE(row);
    Context ctx(Backend::cpu, 1 << 20);
    ctx.force("conv2d_fwd", row);
    ctx.force("conv2d_bwd", row);
    const Tensor x = random_f64(ctx, {2, 4, 5, 3}, 1), b = random_f64(ctx, {2}, 3);
    for (int k : {1, 3})
      for (int stride : {1, 2, 3})
        for (int pad : {0, 1}) {
          const Tensor w = random_f64(ctx, {2, 3, k, k}, 2);
          check_gradients(ctx, {x, w, b},
                          [&](auto& v) { return conv2d(ctx, v[0], v[1], v[2], stride, pad); });
        }
    const Tensor w = random_f64(ctx, {2, 3, 3, 3}, 2);
    check_gradients(ctx, {w}, [&](auto& v) { return conv2d(ctx, x, v[0], {}, 1, 1); });
  }
}

TEST_CASE("conv2d: channels last, weights as PyTorch has them, zeros around") {
  Context ctx(Backend::cpu, 1 << 20);
  std::vector<double> pixels(18);  // (3, 3) pixels of 2 channels: 0, 100, 1, 101, ..
  for (int i = 0; i < 18; ++i) pixels[i] = i / 2 + i % 2 * 100;
  const Tensor x = ctx.from_values({1, 3, 3, 2}, DType::f64, pixels);
  std::vector<double> taps(18);
  taps[9 + 2] = 1;  // w[0, 1, 0, 2]: the second channel of the pixel above, to the right
  const Tensor w = ctx.from_values({1, 2, 3, 3}, DType::f64, taps);
  const Tensor b = ctx.from_values({1}, DType::f64, {0.5});
  CHECK(ctx.values(conv2d(ctx, x, w, b, 1, 1)) ==
        std::vector<double>{.5, .5, .5, 101.5, 102.5, .5, 104.5, 105.5, .5});
  CHECK(ctx.values(conv2d(ctx, x, w, {}, 2, 1)) == std::vector<double>{0, 0, 104, 0});
  CHECK(ctx.values(conv2d(ctx, x, w, {}, 1, 0)) == std::vector<double>{102});
}

TEST_CASE("conv2d: a batch that is taken in parts is the same as picture by picture") {
  Context ctx(Backend::cpu, 1 << 26);
  const int64_t B = 5, one = 32 * 32 * 24;  // cols of a picture: 885 KB of f32
  std::vector<double> numbers(B * one);
  std::mt19937 random(3);
  for (double& v : numbers) v = std::uniform_real_distribution<double>(-1, 1)(random);
  const Tensor x = ctx.from_values({B, 32, 32, 24}, DType::f32, numbers);
  numbers.resize(4 * 24 * 9);
  const Tensor w = ctx.from_values({4, 24, 3, 3}, DType::f32, numbers);
  const auto all = ctx.values(conv2d(ctx, x, w, {}, 1, 1));
  for (int64_t i = 0; i < B; ++i) {
    Tensor picture = ctx.empty({1, 32, 32, 24}, DType::f32);
    std::memcpy(picture.data(), x.as<float>() + i * one, one * sizeof(float));
    const auto y = ctx.values(conv2d(ctx, picture, w, {}, 1, 1));
    for (size_t j = 0; j < y.size(); ++j)
      REQUIRE(all[i * y.size() + j] == doctest::Approx(y[j]).epsilon(1e-5).scale(1));
  }
}

TEST_CASE("conv2d: a row that is asked for by name is taken where its kernel is a part, too") {
  Context ctx(Backend::cpu, 1 << 20);
  ctx.force("conv2d_fwd", "gather_blas");
  const Tensor x = random_f64(ctx, {2, 4, 5, 3}, 1), w = random_f64(ctx, {2, 3, 3, 3}, 2);
  ctx.force("matmul", "reference");
  conv2d(ctx, x, w, {}, 1, 1);
  ctx.force("matmul", "no_such_row");
  CHECK_THROWS_WITH_AS(conv2d(ctx, x, w, {}, 1, 1),
                       "no variant of matmul fits (no_such_row was asked for)", Error);
}

TEST_CASE("conv2d: a wrong shape says so") {
  Context ctx(Backend::cpu, 1 << 20);
  const Tensor x = ctx.empty({1, 8, 8, 3}, DType::f32);
  CHECK_THROWS_WITH_AS(conv2d(ctx, x, ctx.empty({4, 1, 3, 3}, DType::f32), {}, 1, 1),
                       doctest::Contains("x is (1, 8, 8, 3), w is (4, 1, 3, 3)"), Error);
  CHECK_THROWS_WITH_AS(conv2d(ctx, x, ctx.empty({4, 3, 11, 11}, DType::f32), {}, 1, 1),
                       doctest::Contains("padding 1"), Error);
}

TEST_CASE("depthwise_conv2d: gradients, of columns of something wider too") {
  Context ctx(Backend::cpu, 1 << 20);
  const Tensor w = random_f64(ctx, {3, 3, 3}, 2), b = random_f64(ctx, {3}, 3);
  for (bool act : {true, false}) {
    check_gradients(ctx, {random_f64(ctx, {2, 12, 3}, 1), w, b},
                    [&](auto& v) { return depthwise_conv2d(ctx, v[0], 3, 4, v[1], v[2], act); });
    check_gradients(ctx, {random_f64(ctx, {2, 4, 6}, 1), w}, [&](auto& v) {
      auto half = split(ctx, v[0], {3, 3});
      return add(ctx, depthwise_conv2d(ctx, half[1], 4, 1, v[1], {}, act),
                 linear(ctx, half[0], random_f64(ctx, {3, 3}, 4)));
    });
  }
}

TEST_CASE("depthwise_conv2d: the taps lie around the token") {
  Context ctx(Backend::cpu, 1 << 20);
  const Tensor x = ctx.from_values({1, 6, 1}, DType::f64, {1, 2, 3, 4, 5, 6});  // 2 by 3
  std::vector<double> taps(9);
  taps[0 * 3 + 1] = 1, taps[1 * 3 + 2] = 10;  // above, and to the right
  const Tensor w = ctx.from_values({1, 3, 3}, DType::f64, taps);
  CHECK(ctx.values(depthwise_conv2d(ctx, x, 2, 3, w, {}, false)) ==
        std::vector<double>{20, 30, 0, 51, 62, 3});
  CHECK_THROWS_WITH_AS(depthwise_conv2d(ctx, x, 2, 2, w, {}),
                       doctest::Contains("x is (1, 6, 1), the grid 2 by 2"), Error);
}

TEST_CASE("transpose: swaps the middle dimensions; its gradient") {
  Context ctx(Backend::cpu, 1 << 20);
  const Tensor x = ctx.from_values({1, 2, 3, 1}, DType::f64, {1, 2, 3, 4, 5, 6});
  CHECK(ctx.values(transpose(ctx, x)) == std::vector<double>{1, 4, 2, 5, 3, 6});
  check_gradients(ctx, {random_f64(ctx, {2, 3, 2, 2}, 1)}, [&](auto& v) {
    const Tensor y = transpose(ctx, v[0]);
    return add(ctx, y, silu(ctx, transpose(ctx, v[0])));
  });
}
