// The polynomial exp of the CPU kernels against the exact one.
#include "kernels/common/fast_math.h"

#include <cmath>
#include <doctest/doctest.h>
#include <limits>
#include <vector>

using namespace krait;

TEST_CASE("fast_exp is exp to 2e-7, in a vectorised loop too") {
  const int n = 400001;
  std::vector<float> x(n), y(n);
  for (int i = 0; i < n; ++i) x[i] = -88.0f + 176.0f * static_cast<float>(i) / (n - 1);
#pragma omp simd
  for (int i = 0; i < n; ++i) y[i] = fast_exp(x[i]);
  double worst = 0;
  for (int i = 0; i < n; ++i) {
    if (x[i] < -87.33f) {  // clamped: the smallest normal number
      CHECK(y[i] < 1.2e-38f);
      CHECK(y[i] > 0);
      continue;
    }
    const double want = std::exp(static_cast<double>(x[i]));
    worst = std::max(worst, std::abs(y[i] - want) / want);
  }
  CHECK(worst < 2e-7);
  CHECK(fast_exp(0) == 1);
  CHECK(fast_exp(1000) < std::numeric_limits<float>::infinity());
  CHECK(fast_exp(-1000) > 0);
  CHECK(std::isnan(fast_exp(NAN)));
}

TEST_CASE("fast silu and its slope") {
  for (float x = -90; x <= 90; x += 0.037f) {
    const double s = 1 / (1 + std::exp(-static_cast<double>(x)));
    CHECK(std::abs(fast_sigmoid(x) - s) <= 3e-7 * s + 1e-38);
    CHECK(std::abs(fast_silu(x) - x * s) <= 4e-7 * std::abs(x * s) + 1e-35);
    CHECK(std::abs(fast_silu_slope(x) - s * (1 + x * (1 - s))) <= 1e-6);
  }
}
