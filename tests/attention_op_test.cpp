// Softmax attention: gradient, and a result that can be seen without a computer.
#include "tests/support.h"

using namespace krait;

TEST_CASE("attention: gradient") {
  Context ctx(Backend::cpu, 1 << 22);
  check_gradients(ctx, {random_f64(ctx, {2, 5, 18}, 1, -2, 2)},
                  [&](auto& in) { return attention(ctx, in[0], 2); });
  check_gradients(ctx, {random_f64(ctx, {1, 1, 6}, 1)},
                  [&](auto& in) { return attention(ctx, in[0], 1); });
}
TEST_CASE("attention: each head by itself; equal scores give the mean, a large one its value") {
  Context ctx(Backend::cpu, 1 << 20);
  Tensor x = random_f64(ctx, {1, 3, 6}, 1);  // two heads of one number
  for (int t = 0; t < 3; ++t) {
    double* row = x.as<double>() + 6 * t;
    row[0] = 0;  // the first head's query: all scores are 0
    row[1] = 100;
    row[3] = t == 1 ? 10 : -10;  // the second head's key
  }
  const Tensor y = attention(ctx, x, 2);
  auto value = [&](int t, int head) { return x.as<double>()[6 * t + 4 + head]; };
  for (int t = 0; t < 3; ++t) {
    const double mean = (value(0, 0) + value(1, 0) + value(2, 0)) / 3;
    CHECK(y.as<double>()[2 * t] == doctest::Approx(mean));
    CHECK(y.as<double>()[2 * t + 1] == doctest::Approx(value(1, 1)));
  }
}
TEST_CASE("attention: a width that the heads do not divide says so") {
  Context ctx(Backend::cpu, 1 << 20);
  CHECK_THROWS_WITH_AS(attention(ctx, ctx.empty({1, 2, 30}, DType::f32), 4),
                       doctest::Contains("qkv is (1, 2, 30)"), Error);
}
