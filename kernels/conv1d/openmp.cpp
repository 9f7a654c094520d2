// CPU rows, f32: loops over channels that the compiler vectorises, inside loops over tokens; tokens
// (forward) or slices of the batch (backward) are shared out to threads. The slices do not depend
// on the number of threads, so neither does the result.
#include <algorithm>

#include "kernels/common/fast_math.h"
#include "kernels/conv1d/rows.h"

namespace krait {
namespace {

constexpr int max_taps = 8;

// In scratch, for each side: the taps (K, E) and the bias (E), so that loops over channels read
// neighbours; then a row of zeros (E), which stands for the tokens outside.
template <class P>
int64_t taps_count(const P& p) {
  return p.sides * (p.K + 1) * p.E + p.E;
}
template <class P>
void lay_out_taps(const P& p, float* to) {
  for (int n = 0; n < p.sides; ++n)
    for (int64_t e = 0; e < p.E; ++e) {
      const auto& s = p.side[n];
      float* side = to + n * (p.K + 1) * p.E;
      for (int k = 0; k < p.K; ++k) side[k * p.E + e] = static_cast<const float*>(s.w)[e * p.K + k];
      side[p.K * p.E + e] = s.b ? static_cast<const float*>(s.b)[e] : 0.0f;
    }
  std::fill_n(to + p.sides * (p.K + 1) * p.E, p.E, 0.0f);
}

// q of one token: taps (K + 1, E), the K rows of x it looks at.
template <int K>
float q_of(const float* taps, const float* const* rows, int64_t E, int64_t e) {
  float q = taps[K * E + e];
  for (int k = 0; k < K; ++k) q += taps[k * E + e] * rows[k][e];
  return q;
}

// The rows of x that walk position i looks at.
template <int K, class P>
void rows_of(const P& p, bool reverse, int64_t b, int64_t i, const float* zeros,
             const float* (&rows)[K]) {
  for (int k = 0; k < K; ++k) {
    const int64_t j = i - (K - 1) + k, t = reverse ? p.L - 1 - j : j;
    rows[k] = j < 0 || j >= p.L ? zeros : static_cast<const float*>(p.x) + (b * p.L + t) * p.x_row;
  }
}

constexpr int64_t most_slices = 64;
int64_t slices_of(const Conv1dBwd& p) {
  return std::min(p.B, most_slices);
}
// Of one slice: its sums of dw (K, E) and db (E) for each side, and the last K rows of dq.
int64_t slice_count(const Conv1dBwd& p) {
  return (p.sides * (p.K + 1) + p.K) * p.E;
}

template <int K>
void bwd_image(const Conv1dBwd& p, int64_t b, const float* taps, const float* zeros, float* sums,
               float* ring) {
  const int64_t E = p.E, L = p.L;
  bool add = p.accumulate_dx;
  for (int n = 0; n < p.sides; ++n) {
    const auto& s = p.side[n];
    if (!s.dy) continue;
    const float* w = taps + n * (K + 1) * E;
    float* sum = sums + n * (K + 1) * E;
    // Walk position i gives dq[i]; then dx[i - (K-1)] has all it needs.
    for (int64_t i = 0; i < L + K - 1; ++i) {
      float* __restrict dq = ring + i % K * E;
      if (i >= L) {
        std::fill_n(dq, E, 0.0f);
      } else {
        const int64_t t = s.reverse ? L - 1 - i : i;
        const float* dy = static_cast<const float*>(s.dy) + (b * L + t) * E;
        const float* rows[K];
        rows_of<K>(p, s.reverse, b, i, zeros, rows);
        if (p.silu) {
#pragma omp simd
          for (int64_t e = 0; e < E; ++e) dq[e] = dy[e] * fast_silu_slope(q_of<K>(w, rows, E, e));
        } else {
          std::copy_n(dy, E, dq);
        }
        for (int k = 0; k < K; ++k) {
          const float* row = rows[k];
          float* __restrict to = sum + k * E;
#pragma omp simd
          for (int64_t e = 0; e < E; ++e) to[e] += dq[e] * row[e];
        }
        float* __restrict to = sum + K * E;
#pragma omp simd
        for (int64_t e = 0; e < E; ++e) to[e] += dq[e];
      }
      const int64_t j = i - (K - 1);
      if (j < 0 || !p.dx) continue;
      const float* ahead[K];  // dq[j + (K-1) - k]
      for (int k = 0; k < K; ++k) ahead[k] = ring + (j + (K - 1) - k) % K * E;
      float* __restrict dx =
          static_cast<float*>(p.dx) + (b * L + (s.reverse ? L - 1 - j : j)) * p.dx_row;
      const bool more = add;
#pragma omp simd
      for (int64_t e = 0; e < E; ++e) {
        float v = 0;
        for (int k = 0; k < K; ++k) v += w[k * E + e] * ahead[k][e];
        dx[e] = more ? dx[e] + v : v;
      }
    }
    add = true;  // the next side adds to this one's
  }
  if (!p.dx || add) return;
  for (int64_t t = 0; t < L; ++t)  // no side had a gradient
    std::fill_n(static_cast<float*>(p.dx) + (b * L + t) * p.dx_row, E, 0.0f);
}

}  // namespace

bool conv1d_fwd_openmp_supports(const Conv1dFwd& p, const Device&) {
  return p.dtype == DType::f32 && 1 <= p.K && p.K <= max_taps;
}
size_t conv1d_fwd_openmp_scratch(const Conv1dFwd& p) {
  return taps_count(p) * sizeof(float);
}

void conv1d_fwd_openmp(const Conv1dFwd& p, const Launch& l) {
  float* taps = static_cast<float*>(l.scratch);
  lay_out_taps(p, taps);
  const float* zeros = taps + p.sides * (p.K + 1) * p.E;
  with_taps<1>(p.K, [&]<int K>() {
    const int64_t E = p.E, tokens = p.B * p.L;
#pragma omp parallel for schedule(static)
    for (int64_t at = 0; at < tokens; ++at)
      for (int n = 0; n < p.sides; ++n) {
        const auto& s = p.side[n];
        const int64_t b = at / p.L, t = at % p.L, i = s.reverse ? p.L - 1 - t : t;
        const float* w = taps + n * (K + 1) * E;
        const float* rows[K];
        rows_of<K>(p, s.reverse, b, i, zeros, rows);
        float* __restrict y = static_cast<float*>(s.y) + at * E;
        if (p.silu) {
#pragma omp simd
          for (int64_t e = 0; e < E; ++e) y[e] = fast_silu(q_of<K>(w, rows, E, e));
        } else {
#pragma omp simd
          for (int64_t e = 0; e < E; ++e) y[e] = q_of<K>(w, rows, E, e);
        }
      }
  });
}

bool conv1d_bwd_openmp_supports(const Conv1dBwd& p, const Device&) {
  return p.dtype == DType::f32 && 1 <= p.K && p.K <= max_taps;
}
size_t conv1d_bwd_openmp_scratch(const Conv1dBwd& p) {
  return (taps_count(p) + slices_of(p) * slice_count(p)) * sizeof(float);
}

void conv1d_bwd_openmp(const Conv1dBwd& p, const Launch& l) {
  float* taps = static_cast<float*>(l.scratch);
  lay_out_taps(p, taps);
  const float* zeros = taps + p.sides * (p.K + 1) * p.E;
  float* slices = taps + taps_count(p);
  const int64_t count = slices_of(p), sums_count = p.sides * (p.K + 1) * p.E;
  with_taps<1>(p.K, [&]<int K>() {
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t s = 0; s < count; ++s) {
      float* sums = slices + s * slice_count(p);
      std::fill_n(sums, sums_count, 0.0f);
      for (int64_t b = p.B * s / count; b < p.B * (s + 1) / count; ++b)
        bwd_image<K>(p, b, taps, zeros, sums, sums + sums_count);
    }
  });
  for (int n = 0; n < p.sides; ++n)
    for (int k = 0; k <= p.K; ++k)
      for (int64_t e = 0; e < p.E; ++e) {
        const auto& side = p.side[n];
        float sum = 0;
        for (int64_t s = 0; s < count; ++s)
          sum += slices[s * slice_count(p) + (n * (p.K + 1) + k) * p.E + e];
        if (k < p.K && side.dw) static_cast<float*>(side.dw)[e * p.K + k] += sum;
        if (k == p.K && side.db) static_cast<float*>(side.db)[e] += sum;
      }
}

}  // namespace krait
