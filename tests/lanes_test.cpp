// The vector functions of the CPU kernels against the exact ones.
#include "kernels/common/lanes.h"

#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>
#include <limits>

using namespace krait;

namespace {

// Largest relative error of f on [low, high], of Lanes and of Lanes4: the compiler may contract
// their products and sums differently, so their bits need not be the same.
template <class F, class Exact>
double worst_error(double low, double high, F f, Exact exact) {
  double worst = 0;
  for (int i = 0; i <= 200000; ++i) {
    const auto x = static_cast<float>(low + (high - low) * i / 200000);
    const Lanes one = f(all_lanes(x));
    const Lanes4 four = f(all_lanes<Lanes4>(x));
    const double want = exact(static_cast<double>(x));
    for (const double got : {one[lanes - 1], four.v[3][0]}) {
      if (!std::isfinite(got)) return std::numeric_limits<double>::infinity();
      worst = std::max(worst, std::abs(got - want) / std::abs(want));
    }
  }
  return worst;
}
double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

}  // namespace

TEST_CASE("exponentials of the CPU kernels") {
  CHECK(worst_error(
            -126, 10, [](auto x) { return exp2_lanes(x); }, [](double x) { return std::exp2(x); }) <
        2e-7);
  CHECK(worst_error(
            -87.3, 88, [](auto x) { return exp_lanes(x); }, [](double x) { return std::exp(x); }) <
        1.5e-7);
  CHECK(exp2_lanes(all_lanes(0))[0] == 1);
  CHECK(exp_lanes(all_lanes(0))[0] == 1);
  CHECK(exp2_product(all_lanes(3), all_lanes(-2))[0] == 1.0f / 64);
  // Beyond their range they stay at its end: never 0, never infinite.
  for (float x : {-1000.0f, -std::numeric_limits<float>::infinity()}) {
    CHECK(exp2_lanes(all_lanes(x))[0] == std::ldexp(1.0f, -126));
    CHECK(exp_lanes(all_lanes(x))[0] > 0);
  }
  CHECK(exp_lanes(all_lanes(1000))[0] < std::numeric_limits<float>::infinity());
}

TEST_CASE("sigmoid, silu and softplus of the CPU kernels") {
  CHECK(worst_error(
            -80, 80, [](auto x) { return sigmoid_lanes(x); }, sigmoid) < 3e-7);
  CHECK(worst_error(
            0.01, 80, [](auto x) { return silu_lanes(x); },
            [](double x) { return x * sigmoid(x); }) < 3e-7);
  CHECK(worst_error(
            -80, 80, [](auto x) { return softplus_lanes(x).slope; }, sigmoid) < 3e-7);
  CHECK(worst_error(
            -80, 80, [](auto x) { return softplus_lanes(x).value; },
            [](double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }) < 3e-7);
  for (float x = -30; x < 30; x += 0.037f) {
    const double s = sigmoid(x);
    CHECK(std::abs(silu_slope_lanes(all_lanes(x))[0] - s * (1 + x * (1 - s))) < 1e-6);
  }
}

TEST_CASE("a NaN stays one") {
  const Lanes nan = all_lanes(std::numeric_limits<float>::quiet_NaN());
  CHECK(std::isnan(exp2_product(nan, all_lanes(-1))[0]));
  CHECK(std::isnan(exp_lanes(nan)[0]));
  CHECK(std::isnan(exp2_lanes(nan)[0]));
  CHECK(std::isnan(silu_lanes(nan)[0]));
  CHECK(std::isnan(softplus_lanes(nan).value[0]));
}

TEST_CASE("lanes of which only some are there") {
  const float from[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
  const Lanes v = load(from, 3);
  CHECK(v[2] == 3);
  CHECK(v[lanes - 1] == (lanes == 3 ? 3 : 0));
  CHECK(sum_lanes(load(from)) == lanes * (lanes + 1) / 2);
  float to[] = {-1, -1, -1, -1};
  store(to, load(from), 2);
  CHECK(to[1] == 2);
  CHECK(to[2] == -1);
  store_or_add(to, load(from), 2, true);
  CHECK(to[1] == 4);
  CHECK(to[2] == -1);
}
