// exp, sigmoid and silu for CPU loops over channels: no branch and no call, so that the compiler
// computes several at once inside `#pragma omp simd` (GCC needs -fno-trapping-math for the ?: to be
// a minimum and a maximum; CMakeLists.txt sets it). Good to about 1e-7, relative.
#pragma once

#include <bit>
#include <cstdint>

namespace krait {

// e^x = 2^n e^r with n = round(x / ln 2), |r| <= ln 2 / 2, and e^r by a polynomial (of degree 6,
// fitted at Chebyshev points, error 1e-8). x is clamped to [-87.33, 88.37], where 2^n is a normal
// number: so the result is never 0 and never infinite. NaN stays NaN.
inline float fast_exp(float x) {
  x = x < -87.33f ? -87.33f : x;
  x = x > 88.37f ? 88.37f : x;
  // Adding 1.5 * 2^23 leaves no bits for a fraction: it rounds, and the low bits are n.
  constexpr float shift = 0x1.8p23f;
  const float t = x * 1.44269504f + shift;
  const float n = t - shift;
  // ln 2 in two parts; the first has few enough bits for n * part to be exact.
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float q = 0.00139262135f;
  q = q * r + 0.00836320297f;
  q = q * r + 0.0416665544f;
  q = q * r + 0.166665768f;
  q = q * r + 0.5f;
  const float e = 1.0f + (r + r * r * q);
  const uint32_t power = (std::bit_cast<uint32_t>(t) << 23) + 0x3F800000u;  // 2^n
  return e * std::bit_cast<float>(power);
}

inline float fast_sigmoid(float x) {
  return 1.0f / (1.0f + fast_exp(-x));
}
inline float fast_silu(float x) {
  return x * fast_sigmoid(x);
}
// silu'(x) = s (1 + x (1 - s)), s = sigmoid(x)
inline float fast_silu_slope(float x) {
  const float s = fast_sigmoid(x);
  return s * (1.0f + x * (1.0f - s));
}

}  // namespace krait
