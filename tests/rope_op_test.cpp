// Gradient of rope, and what a rotation must do.
#include "tests/support.h"

using namespace krait;

namespace {

// Tables with the same angle for both channels of a pair.
std::pair<Tensor, Tensor> tables(Context& ctx, int64_t P, int64_t D) {
  Tensor angle = random_f64(ctx, {P, D}, 7, -3, 3);
  Tensor cos = ctx.empty({P, D}, DType::f64), sin = ctx.empty({P, D}, DType::f64);
  for (int64_t i = 0; i < P * D; ++i) {
    cos.as<double>()[i] = std::cos(angle.as<double>()[i / 2 * 2]);
    sin.as<double>()[i] = std::sin(angle.as<double>()[i / 2 * 2]);
  }
  return {cos, sin};
}

}  // namespace

TEST_CASE("rope: gradient, with and without a token left as it is") {
  Context ctx(Backend::cpu, 1 << 20);
  for (int64_t P : {4, 3}) {
    const auto [cos, sin] = tables(ctx, P, 6);
    const Tensor c = cos, s = sin;
    check_gradients(ctx, {random_f64(ctx, {2, 4, 6}, 1)},
                    [&](auto& in) { return rope(ctx, in[0], c, s); });
    check_gradients(ctx, {random_f64(ctx, {2, 4, 6}, 1)},
                    [&](auto& in) { return add(ctx, rope(ctx, in[0], c, s), silu(ctx, in[0])); });
  }
}
TEST_CASE("rope: keeps the length of a pair, and the first token where there is one too many") {
  Context ctx(Backend::cpu, 1 << 20);
  const auto [cos, sin] = tables(ctx, 4, 6);
  const Tensor x = random_f64(ctx, {2, 5, 6}, 1), y = rope(ctx, x, cos, sin);
  const double *px = x.as<double>(), *py = y.as<double>();
  for (int64_t i = 0; i < x.count(); i += 2)
    CHECK(std::hypot(py[i], py[i + 1]) == doctest::Approx(std::hypot(px[i], px[i + 1])));
  for (int64_t d = 0; d < 6; ++d) {
    CHECK(py[d] == px[d]);
    CHECK(py[30 + d] == px[30 + d]);
    CHECK(py[6 + d] != px[6 + d]);
  }
  CHECK(py[6] == doctest::Approx(px[6] * cos.as<double>()[0] - px[7] * sin.as<double>()[0]));
  CHECK(py[7] == doctest::Approx(px[7] * cos.as<double>()[0] + px[6] * sin.as<double>()[0]));
}
TEST_CASE("rope: a wrong table says so") {
  Context ctx(Backend::cpu, 1 << 20);
  const auto [cos, sin] = tables(ctx, 3, 6);
  CHECK_THROWS_WITH_AS(rope(ctx, random_f64(ctx, {2, 5, 6}, 1), cos, sin),
                       doctest::Contains("cos is (3, 6)"), Error);
}
