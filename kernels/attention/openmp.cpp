// CPU rows for f32 and bf16. A thread takes a head of a picture, brings it into f32 with the tokens
// side by side, and works on one query after the other: the loops over tokens and over the head's
// width are vectorised. A head is computed by one thread, so their number changes nothing.
#include <cmath>
#include <vector>

#include "kernels/attention/rows.h"
#include "kernels/common/lanes.h"

namespace krait {
namespace {

// Rows of d numbers, `row` apart -> (L, d), or, transposed, (d, many) with zeros after the L-th.
template <class T>
void gather(const T* from, int64_t row, int64_t L, int64_t d, float* to) {
  for (int64_t i = 0; i < L; ++i)
    for (int64_t k = 0; k < d; ++k) to[i * d + k] = float(from[i * row + k]);
}
template <class T>
void gather_transposed(const T* from, int64_t row, int64_t L, int64_t d, int64_t many, float* to) {
  for (int64_t k = 0; k < d; ++k)
    for (int64_t i = 0; i < many; ++i) to[k * many + i] = i < L ? float(from[i * row + k]) : 0.0f;
}
template <class T>
void give(const float* from, int64_t row, int64_t L, int64_t d, bool accumulate, T* to) {
  for (int64_t i = 0; i < L; ++i)
    for (int64_t k = 0; k < d; ++k) {
      T& t = to[i * row + k];
      t = T(accumulate ? float(t) + from[i * d + k] : from[i * d + k]);
    }
}

// s[j] = x . columns[.][j] for each of `many` tokens; columns (d, many)
void products(const float* x, const float* columns, int64_t d, int64_t many, float* s) {
  for (int64_t j = 0; j < many; ++j) s[j] = 0;
  for (int64_t k = 0; k < d; ++k) {
    const float xk = x[k];
    const float* column = columns + k * many;
#pragma omp simd
    for (int64_t j = 0; j < many; ++j) s[j] += xk * column[j];
  }
}
// y = sum_j s[j] rows[j]; rows (L, d)
void weighted_sum(const float* s, const float* rows, int64_t L, int64_t d, float* y) {
  for (int64_t k = 0; k < d; ++k) y[k] = 0;
  for (int64_t j = 0; j < L; ++j) {
    const float sj = s[j];
#pragma omp simd
    for (int64_t k = 0; k < d; ++k) y[k] += sj * rows[j * d + k];
  }
}
// rows[j] += s[j] x for each token
void add_outer(const float* s, const float* x, int64_t L, int64_t d, float* rows) {
  for (int64_t j = 0; j < L; ++j) {
    const float sj = s[j];
#pragma omp simd
    for (int64_t k = 0; k < d; ++k) rows[j * d + k] += sj * x[k];
  }
}
// s = exp(scale s - shift), by whole vectors
void exp_all(float* s, int64_t many, float scale, float shift) {
  for (int64_t j = 0; j < many; j += lanes)
    store(s + j, exp_lanes(load(s + j) * all_lanes(scale) - all_lanes(shift)));
}

int64_t rounded_up(int64_t L) {
  return (L + lanes - 1) / lanes * lanes;
}

// Calls f(head, memory) for every head, where memory has `floats` of them for each thread.
template <class P, class F>
void for_each_head(const P& p, int64_t floats, F&& f) {
#pragma omp parallel if (p.B * p.heads > 1 && p.B * p.heads * p.L * p.L * p.d > (1 << 14))
  {
    std::vector<float> memory(floats);
#pragma omp for schedule(static)
    for (int64_t at = 0; at < p.B * p.heads; ++at)
      f(Head<P>{at / p.heads, at % p.heads}, memory.data());
  }
}

bool taken(DType t) {
  return t == DType::f32 || t == DType::bf16;
}

template <class T>
void forward(const AttentionFwd& p) {
  const int64_t L = p.L, d = p.d, many = rounded_up(L);
  const auto scale = static_cast<float>(p.scale);
  for_each_head(p, d * many + 3 * L * d + many, [&](auto head, float* memory) {
    const int64_t W = head.width(p), row = head.qkv_row(p);
    const T* from = static_cast<const T*>(p.qkv) + head.qkv(p);
    float *k = memory, *q = k + d * many, *v = q + L * d, *y = v + L * d, *s = y + L * d;
    gather(from, row, L, d, q);
    gather_transposed(from + W, row, L, d, many, k);
    gather(from + 2 * W, row, L, d, v);
    for (int64_t i = 0; i < L; ++i) {
      products(q + i * d, k, d, many, s);
      float most = -INFINITY, total = 0;
      for (int64_t j = 0; j < L; ++j) most = std::max(most, scale * s[j]);
      exp_all(s, many, scale, most);
#pragma omp simd reduction(+ : total)
      for (int64_t j = 0; j < L; ++j) total += s[j];
      weighted_sum(s, v, L, d, y + i * d);
      for (int64_t c = 0; c < d; ++c) y[i * d + c] /= total;
      if (p.lse) static_cast<float*>(p.lse)[head.lse(p) + i] = most + std::log(total);
    }
    give(y, W, L, d, false, static_cast<T*>(p.y) + head.y(p));
  });
}

template <class T>
void backward(const AttentionBwd& p) {
  const int64_t L = p.L, d = p.d, many = rounded_up(L);
  const auto scale = static_cast<float>(p.scale);
  for_each_head(p, 2 * d * many + 7 * L * d + 2 * many, [&](auto head, float* memory) {
    const int64_t W = head.width(p), row = head.qkv_row(p);
    const T* from = static_cast<const T*>(p.qkv) + head.qkv(p);
    float *kt = memory, *vt = kt + d * many, *s = vt + d * many, *dp = s + many, *q = dp + many;
    float *k = q + L * d, *y = k + L * d, *dy = y + L * d;
    float *dq = dy + L * d, *dk = dq + L * d, *dv = dk + L * d;
    gather(from, row, L, d, q);
    gather(from + W, row, L, d, k);
    gather_transposed(from + W, row, L, d, many, kt);
    gather_transposed(from + 2 * W, row, L, d, many, vt);
    gather(static_cast<const T*>(p.y) + head.y(p), W, L, d, y);
    gather(static_cast<const T*>(p.dy) + head.y(p), W, L, d, dy);
    std::fill(dk, dv + L * d, 0.0f);
    const float* lse = static_cast<const float*>(p.lse) + head.lse(p);
    for (int64_t i = 0; i < L; ++i) {
      float delta = 0;
      for (int64_t c = 0; c < d; ++c) delta += dy[i * d + c] * y[i * d + c];
      products(q + i * d, kt, d, many, s);
      exp_all(s, many, scale, lse[i]);  // the probabilities
      products(dy + i * d, vt, d, many, dp);
      add_outer(s, dy + i * d, L, d, dv);
      for (int64_t j = 0; j < L; ++j) s[j] *= scale * (dp[j] - delta);
      weighted_sum(s, k, L, d, dq + i * d);
      add_outer(s, q + i * d, L, d, dk);
    }
    T* to = static_cast<T*>(p.dqkv) + head.qkv(p);
    give(dq, row, L, d, p.accumulate, to);
    give(dk, row, L, d, p.accumulate, to + W);
    give(dv, row, L, d, p.accumulate, to + 2 * W);
  });
}

}  // namespace

bool attention_fwd_openmp_supports(const AttentionFwd& p, const Device&) {
  return taken(p.dtype);
}
void attention_fwd_openmp(const AttentionFwd& p, const Launch&) {
  p.dtype == DType::f32 ? forward<float>(p) : forward<bf16>(p);
}
bool attention_bwd_openmp_supports(const AttentionBwd& p, const Device&) {
  return taken(p.dtype);
}
void attention_bwd_openmp(const AttentionBwd& p, const Launch&) {
  p.dtype == DType::f32 ? backward<float>(p) : backward<bf16>(p);
}

}  // namespace krait
