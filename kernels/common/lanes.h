// Eight floats at once for CPU kernels, with the GCC/Clang vector extension: AVX2 where the machine
// has it, two SSE or NEON registers elsewhere. Functions are branch-free and good to a few units in
// the last place.
#pragma once

#include <cstdint>
#include <cstring>
#ifdef __AVX__
#include <immintrin.h>
#endif

namespace krait {

constexpr int lanes = 8;
typedef float Lanes __attribute__((vector_size(lanes * sizeof(float))));
typedef int32_t LanesInt __attribute__((vector_size(lanes * sizeof(int32_t))));

inline Lanes all_lanes(float v) {
  return Lanes{} + v;
}
// The first `count` of 8 values; the other lanes are zero.
inline Lanes load(const float* p, int count = lanes) {
  Lanes v{};
  if (count == lanes)
    std::memcpy(&v, p, sizeof v);
  else
    for (int i = 0; i < count; ++i) v[i] = p[i];
  return v;
}
inline void store(float* p, Lanes v, int count = lanes) {
  if (count == lanes)
    std::memcpy(p, &v, sizeof v);
  else
    for (int i = 0; i < count; ++i) p[i] = v[i];
}
inline void store_or_add(float* p, Lanes v, int count, bool add) {
  store(p, add ? load(p, count) + v : v, count);
}
// One instruction where the compiler would take two (it may not know that no lane is NaN).
inline Lanes larger(Lanes a, Lanes b) {
#ifdef __AVX__
  return _mm256_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}
inline Lanes smaller(Lanes a, Lanes b) {
#ifdef __AVX__
  return _mm256_min_ps(a, b);
#else
  return a < b ? a : b;
#endif
}

// 2^x for x <= 0: 2^round(x) from the exponent's bits, 2^(x - round(x)) by a polynomial (Taylor's
// to degree 6; relative error 2e-7). Below 2^-126 it stays there.
inline Lanes exp2_lanes(Lanes x) {
  x = larger(x, all_lanes(-126.0f));
  const Lanes magic = all_lanes(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const Lanes shifted = x + magic;
  const Lanes f = x - (shifted - magic);  // in [-1/2, 1/2]
  Lanes p = all_lanes(1.5461444696e-4f);
  p = p * f + 1.3400428177e-3f;
  p = p * f + 9.6180566785e-3f;
  p = p * f + 5.5503272267e-2f;
  p = p * f + 2.4022650922e-1f;
  p = p * f + 6.9314720670e-1f;
  p = p * f + 1.0f;
  LanesInt bits, scaled;
  std::memcpy(&bits, &shifted, sizeof bits);
  std::memcpy(&scaled, &p, sizeof scaled);
  scaled += bits << 23;  // the low bits of `shifted` hold the integer
  Lanes r;
  std::memcpy(&r, &scaled, sizeof r);
  return r;
}
inline Lanes exp_lanes(Lanes x) {
  // x = k ln 2 + r with ln 2 in two parts, so that large arguments keep their low bits.
  x = smaller(larger(x, all_lanes(-87.3f)), all_lanes(88.0f));
  const Lanes magic = all_lanes(12582912.0f);
  const Lanes shifted = x * 1.44269504f + magic;
  const Lanes k = shifted - magic;
  const Lanes r = (x - k * 0.693359375f) - k * -2.12194440e-4f;
  Lanes p = all_lanes(1.9841270e-4f);
  p = p * r + 1.3888889e-3f;
  p = p * r + 8.3333333e-3f;
  p = p * r + 4.1666667e-2f;
  p = p * r + 1.6666667e-1f;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  LanesInt bits, scaled;
  std::memcpy(&bits, &shifted, sizeof bits);
  std::memcpy(&scaled, &p, sizeof scaled);
  scaled += bits << 23;
  Lanes y;
  std::memcpy(&y, &scaled, sizeof y);
  return y;
}
// log(1 + t) for t in [0, 1]: 2 atanh(t / (2 + t)), accurate for small t too.
inline Lanes log1p_lanes(Lanes t) {
  const Lanes s = t / (2.0f + t), q = s * s;
  Lanes p = all_lanes(1.0f / 15);
  p = p * q + 1.0f / 13;
  p = p * q + 1.0f / 11;
  p = p * q + 1.0f / 9;
  p = p * q + 1.0f / 7;
  p = p * q + 1.0f / 5;
  p = p * q + 1.0f / 3;
  return 2.0f * (s + s * q * p);
}
inline Lanes sigmoid_lanes(Lanes x) {
  return 1.0f / (1.0f + exp_lanes(-x));
}
// softplus and its slope, from one exponential.
struct SoftplusLanes {
  Lanes value, slope;
};
inline SoftplusLanes softplus_lanes(Lanes x) {
  const Lanes t = exp_lanes(x > 0 ? -x : x);  // e^-|x|
  const Lanes r = 1.0f / (1.0f + t);
  return {larger(x, Lanes{}) + log1p_lanes(t), x > 0 ? r : t * r};
}
inline float sum_lanes(Lanes v) {
  return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

}  // namespace krait
