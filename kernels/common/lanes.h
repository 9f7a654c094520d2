// A vector register of floats for CPU kernels, with the GCC/Clang vector extension: 16 with
// AVX-512, 8 with AVX, else 4 (SSE, NEON). Functions are branch-free and good to a few units in the
// last place.
//
// A multiplication takes four or five cycles, and one or two can start in each. So a chain of them
// leaves the processor waiting: Lanes4 is four Lanes that take every step together.
#pragma once

#include <cstdint>
#include <cstring>
#ifdef __AVX__
#include <immintrin.h>
#endif

// The compiler would call some of these functions, with their vectors in memory.
#define KRAIT_LANES [[gnu::always_inline]] inline

namespace krait {

#ifdef __AVX512F__
constexpr int lanes = 16;
#elif defined(__AVX__)
constexpr int lanes = 8;
#else
constexpr int lanes = 4;
#endif
typedef float Lanes __attribute__((vector_size(lanes * sizeof(float))));
typedef int32_t LanesInt __attribute__((vector_size(lanes * sizeof(int32_t))));

struct Lanes4 {
  Lanes v[4];
};
template <class F>
KRAIT_LANES Lanes4 four(F&& f) {
  return {{f(0), f(1), f(2), f(3)}};
}
KRAIT_LANES Lanes4 operator+(const Lanes4& a, const Lanes4& b) {
  return four([&](int i) { return a.v[i] + b.v[i]; });
}
KRAIT_LANES Lanes4 operator-(const Lanes4& a, const Lanes4& b) {
  return four([&](int i) { return a.v[i] - b.v[i]; });
}
KRAIT_LANES Lanes4 operator*(const Lanes4& a, const Lanes4& b) {
  return four([&](int i) { return a.v[i] * b.v[i]; });
}
KRAIT_LANES Lanes4 operator/(const Lanes4& a, const Lanes4& b) {
  return four([&](int i) { return a.v[i] / b.v[i]; });
}

template <class V = Lanes>
KRAIT_LANES V all_lanes(float x) {
  if constexpr (sizeof(V) == sizeof(Lanes))
    return x - V{};
  else
    return four([&](int) { return all_lanes(x); });
}

// The first `count` values; the other lanes are zero.
KRAIT_LANES Lanes load(const float* p, int count = lanes) {
  Lanes v{};
  if (count == lanes)
    std::memcpy(&v, p, sizeof v);
  else
    for (int i = 0; i < count; ++i) v[i] = p[i];
  return v;
}
KRAIT_LANES void store(float* p, Lanes v, int count = lanes) {
  if (count == lanes)
    std::memcpy(p, &v, sizeof v);
  else
    for (int i = 0; i < count; ++i) p[i] = v[i];
}
KRAIT_LANES void store_or_add(float* p, Lanes v, int count, bool add) {
  store(p, add ? load(p, count) + v : v, count);
}

// Where one of the two is NaN, both return b. One instruction where the compiler would take two;
// not for AVX-512, where GCC 12 warns of its own header.
KRAIT_LANES Lanes larger(Lanes a, Lanes b) {
#if defined(__AVX__) && !defined(__AVX512F__)
  return _mm256_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}
KRAIT_LANES Lanes smaller(Lanes a, Lanes b) {
#if defined(__AVX__) && !defined(__AVX512F__)
  return _mm256_min_ps(a, b);
#else
  return a < b ? a : b;
#endif
}
KRAIT_LANES Lanes4 larger(const Lanes4& a, const Lanes4& b) {
  return four([&](int i) { return larger(a.v[i], b.v[i]); });
}
KRAIT_LANES Lanes4 smaller(const Lanes4& a, const Lanes4& b) {
  return four([&](int i) { return smaller(a.v[i], b.v[i]); });
}

KRAIT_LANES Lanes if_positive(Lanes x, Lanes yes, Lanes no) {
  return x > 0 ? yes : no;
}
KRAIT_LANES Lanes4 if_positive(const Lanes4& x, const Lanes4& yes, const Lanes4& no) {
  return four([&](int i) { return if_positive(x.v[i], yes.v[i], no.v[i]); });
}

// x * 2^k, where k is what the low bits of `shifted` hold.
KRAIT_LANES Lanes times_power(Lanes x, Lanes shifted) {
  LanesInt k, bits;
  std::memcpy(&k, &shifted, sizeof k);
  std::memcpy(&bits, &x, sizeof bits);
  bits += k << 23;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
KRAIT_LANES Lanes4 times_power(const Lanes4& x, const Lanes4& shifted) {
  return four([&](int i) { return times_power(x.v[i], shifted.v[i]); });
}

constexpr float log2e = 1.44269504088896f;
constexpr float round_shift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer

// 2^f for |f| <= 1/2: 1 + f (...), fitted with the least largest relative error, 9.2e-8.
template <class V>
KRAIT_LANES V exp2_fraction(const V& f) {
  V p = all_lanes<V>(1.3264727e-3f);
  p = p * f + all_lanes<V>(9.671513e-3f);
  p = p * f + all_lanes<V>(5.5507336e-2f);
  p = p * f + all_lanes<V>(2.4022242e-1f);
  p = p * f + all_lanes<V>(6.93147e-1f);
  return p * f + all_lanes<V>(1.0f);
}
// 2^(a b), without a rounding of the product; for -126 <= a b < 127.
template <class V>
KRAIT_LANES V exp2_product(const V& a, const V& b) {
  const V shifted = a * b + all_lanes<V>(round_shift);
  const V f = a * b - (shifted - all_lanes<V>(round_shift));  // in [-1/2, 1/2]
  return times_power(exp2_fraction(f), shifted);
}
// 2^x for x < 127. Below 2^-126 it stays there.
template <class V>
KRAIT_LANES V exp2_lanes(const V& x) {
  return exp2_product(larger(all_lanes<V>(-126.0f), x), all_lanes<V>(1.0f));
}
// e^x = 2^k e^r with r = x - k ln 2; x is kept within [-87.3, 88], where the result is a normal
// number.
template <class V>
KRAIT_LANES V exp_lanes(const V& any) {
  const V x = smaller(all_lanes<V>(88.0f), larger(all_lanes<V>(-87.3f), any));
  const V shifted = x * all_lanes<V>(log2e) + all_lanes<V>(round_shift);
  const V k = shifted - all_lanes<V>(round_shift);
  // ln 2 in two parts; the first has few enough bits for k times it to be exact.
  const V r = (x - k * all_lanes<V>(0.693359375f)) + k * all_lanes<V>(2.12194440e-4f);
  V p = all_lanes<V>(1.39262135e-3f);  // fitted at Chebyshev points, error 1e-8
  p = p * r + all_lanes<V>(8.36320297e-3f);
  p = p * r + all_lanes<V>(4.16665544e-2f);
  p = p * r + all_lanes<V>(1.66665768e-1f);
  p = p * r + all_lanes<V>(0.5f);
  p = p * r + all_lanes<V>(1.0f);
  return times_power(p * r + all_lanes<V>(1.0f), shifted);
}
// log(1 + t) for t in [0, 1]: t (1 - t/2 + ...), fitted with the least largest relative
// error, 3.3e-8.
template <class V>
KRAIT_LANES V log1p_lanes(const V& t) {
  V p = all_lanes<V>(5.3648190e-3f);
  p = p * t + all_lanes<V>(-3.0065773e-2f);
  p = p * t + all_lanes<V>(7.9204507e-2f);
  p = p * t + all_lanes<V>(-1.3753800e-1f);
  p = p * t + all_lanes<V>(1.9153655e-1f);
  p = p * t + all_lanes<V>(-2.4857163e-1f);
  p = p * t + all_lanes<V>(3.3321324e-1f);
  p = p * t + all_lanes<V>(-4.9999648e-1f);
  return (p * t + all_lanes<V>(1.0f)) * t;
}
template <class V>
KRAIT_LANES V sigmoid_lanes(const V& x) {
  return all_lanes<V>(1.0f) / (all_lanes<V>(1.0f) + exp_lanes(all_lanes<V>(0.0f) - x));
}
template <class V>
KRAIT_LANES V silu_lanes(const V& x) {
  return x / (all_lanes<V>(1.0f) + exp_lanes(all_lanes<V>(0.0f) - x));
}
// silu'(x) = s (1 + x (1 - s)), s = sigmoid(x)
template <class V>
KRAIT_LANES V silu_slope_lanes(const V& x) {
  const V s = sigmoid_lanes(x);
  return s * (all_lanes<V>(1.0f) + x * (all_lanes<V>(1.0f) - s));
}
// log(1 + e^x) = max(x, 0) + log(1 + e^-|x|) and its slope, sigmoid(x), from one exponential.
template <class V>
struct SoftplusLanes {
  V value, slope;
};
template <class V>
KRAIT_LANES SoftplusLanes<V> softplus_lanes(const V& x) {
  const V zero = all_lanes<V>(0.0f), one = all_lanes<V>(1.0f);
  const V t = exp_lanes(smaller(x, zero - x));
  return {larger(zero, x) + log1p_lanes(t), if_positive(x, one, t) / (one + t)};
}
KRAIT_LANES float sum_lanes(Lanes v) {  // by halves
  for (int n = lanes / 2; n > 0; n /= 2)
    for (int i = 0; i < n; ++i) v[i] += v[i + n];
  return v[0];
}

}  // namespace krait
