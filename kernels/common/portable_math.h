// Arithmetic that gives the same bits everywhere: on a CPU and a GPU, under any compiler and C
// library. Only + - * / sqrt floor and fma are used, which IEEE 754 defines to the last bit; what
// is left to choose, whether a * b + c is rounded once or twice, is said each time: fma or product.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/common/dtype.h"

namespace krait {

// a * b, rounded: never made one with a sum it goes into.
KRAIT_HD inline double product(double a, double b) {
#if defined(__CUDA_ARCH__)
  return __dmul_rn(a, b);
#else
  double p = a * b;
#if defined(__x86_64__)
  asm("" : "+x"(p));  // the compiler cannot look through this, and it costs nothing
#elif defined(__aarch64__)
  asm("" : "+w"(p));
#else
  asm("" : "+m"(p));
#endif
  return p;
#endif
}
KRAIT_HD inline float product(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  float p = a * b;
#if defined(__x86_64__)
  asm("" : "+x"(p));
#elif defined(__aarch64__)
  asm("" : "+w"(p));
#else
  asm("" : "+m"(p));
#endif
  return p;
#endif
}

// 2^k for -1022 <= k <= 1023.
KRAIT_HD inline double power_of_2(int k) {
  return std::bit_cast<double>(static_cast<uint64_t>(k + 1023) << 52);
}

// ln x of a normal x > 0, to 2 units in the last place: x = 2^k m, ln m = 2 artanh((m-1)/(m+1)).
KRAIT_HD inline double portable_log(double x) {
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  int k = static_cast<int>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0xFFFFFFFFFFFFFu) | 0x3FF0000000000000u);  // in [1, 2)
  if (m > 1.4142135623730951) m *= 0.5, ++k;
  const double s = (m - 1) / (m + 1), z = product(s, s);
  double sum = 0;
  for (int n = 23; n >= 3; n -= 2) sum = fma(sum, z, 1.0 / n);
  const double tail = 2 * product(s, product(sum, z));
  return fma(k, 0x1.62e42fefa39efp-1, fma(k, 0x1.abc9e3b39803fp-56, tail) + 2 * s);
}

// e^x; 0 below -708, x no larger than 709.
KRAIT_HD inline double portable_exp(double x) {
  if (x < -708) return 0;
  const double k = floor(fma(x, 1.4426950408889634, 0.5));
  const double r = fma(-k, 0x1.abc9e3b39803fp-56, fma(-k, 0x1.62e42fefa39efp-1, x));
  double sum = 1;
  for (int n = 14; n >= 1; --n) sum = fma(product(sum, r), 1.0 / n, 1.0);
  return sum * power_of_2(static_cast<int>(k));
}

struct SinCos {
  double sin, cos;
};
// Of |x| up to 10^5, to an absolute 2^-52.
KRAIT_HD inline SinCos portable_sin_cos(double x) {
  const double k = floor(fma(x, 0.6366197723675814, 0.5));  // the nearest multiple of pi / 2
  double r = fma(-k, 0x1.921fb54442d18p+0, x);
  r = fma(-k, 0x1.1a62633145c07p-54, r);  // in -pi/4 .. pi/4
  const double z = product(r, r);
  double s = 1, c = 1;  // Taylor's series, from the smallest term
  for (int n = 20; n >= 2; n -= 2) {
    s = fma(product(s, z), -1.0 / (n * (n + 1)), 1.0);
    c = fma(product(c, z), -1.0 / (n * (n - 1)), 1.0);
  }
  s = product(s, r);
  switch (static_cast<int>(k - 4 * floor(k / 4))) {
    case 0:
      return {s, c};
    case 1:
      return {c, -s};
    case 2:
      return {-s, -c};
    default:
      return {-c, s};
  }
}

}  // namespace krait
