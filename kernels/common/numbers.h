// A sequence of random numbers for one thing (a picture of a batch, say): number n is
// philox(seed, use, step, n / 4 << 32 | index).word[n % 4]. The same bits on CPU and GPU.
#pragma once

#include "kernels/common/portable_math.h"
#include "kernels/common/random.h"

namespace krait {

class Numbers {
 public:
  KRAIT_HD Numbers(uint64_t seed, Draw use, uint64_t step, int64_t index)
      : seed_(seed),
        step_(step),
        index_(static_cast<uint32_t>(index)),
        stream_(static_cast<uint32_t>(use)) {}

  KRAIT_HD uint32_t word() {
    if (at_ == 4) {
      four_ = philox(seed_, stream_, step_, index_);
      index_ += uint64_t{1} << 32;
      at_ = 0;
    }
    return four_.word[at_++];
  }
  // In (0, 1), on a grid of 2^-32, never at its ends: a logarithm may be taken.
  KRAIT_HD double uniform() { return (word() + 0.5) * 0x1p-32; }
  KRAIT_HD double uniform(double low, double high) { return fma(high - low, uniform(), low); }
  KRAIT_HD bool chance(double probability) { return uniform() < probability; }
  KRAIT_HD double either_sign(double v) { return word() >> 31 ? -v : v; }
  KRAIT_HD int up_to(int n) {  // 0 .. n
    return static_cast<int>(krait::below(word(), static_cast<uint32_t>(n + 1)));
  }
  KRAIT_HD double normal() {  // Box and Muller 1958
    const double radius = sqrt(-2 * portable_log(uniform()));
    return product(radius, portable_sin_cos(6.283185307179586 * uniform()).cos);
  }
  KRAIT_HD double gamma(double shape) {  // Marsaglia and Tsang 2000, shape >= 1
    const double d = shape - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
      const double x = normal(), t = fma(c, x, 1.0), v = product(product(t, t), t);
      if (v <= 0) continue;
      const double bound = fma(d, portable_log(v) - v, fma(product(x, x), 0.5, d));
      if (portable_log(uniform()) < bound) return product(d, v);
    }
  }
  KRAIT_HD double beta(double alpha) {  // Beta(alpha, alpha)
    if (alpha > 1) {
      const double a = gamma(alpha), b = gamma(alpha);
      return a / (a + b);
    }
    for (;;) {  // Johnk 1964, in logarithms: u^(1/alpha) underflows when alpha is small
      const double a = portable_log(uniform()) / alpha, b = portable_log(uniform()) / alpha;
      const double most = a > b ? a : b, least = a > b ? b : a;
      const double sum = most + portable_log(1 + portable_exp(least - most));
      if (sum <= 0) return portable_exp(a - sum);
    }
  }

 private:
  uint64_t seed_, step_, index_;
  Random4 four_{};
  uint32_t stream_;
  int at_ = 4;
};

}  // namespace krait
