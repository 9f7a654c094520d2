// CPU rows, f32: eight channels and four tokens at a time; tokens (forward) or slices of the batch
// (backward) are shared out to threads. The slices do not depend on the number of threads, so
// neither does the result.
//
// The taps of a reversed side are laid out mirrored. Then both sides compute
//   q[t] = b + sum_k w[k] x[start(t) + k],   dx[t] = sum_k w[k] dq[back(t) + (K-1) - k]
// with start(t) = t - (K-1), back(t) = t; for a reversed side it is the other way round.
#include <algorithm>
#include <array>
#include <vector>

#include "kernels/common/lanes.h"
#include "kernels/conv1d/rows.h"

namespace krait {
namespace {

constexpr int max_taps = 8;

// In scratch, for each side: the taps (K, E) and the bias (E), so that neighbouring channels lie
// side by side; then a row of zeros (E), which stands for the tokens outside.
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
      for (int k = 0; k < p.K; ++k)
        side[(s.reverse ? p.K - 1 - k : k) * p.E + e] = static_cast<const float*>(s.w)[e * p.K + k];
      side[p.K * p.E + e] = s.b ? static_cast<const float*>(s.b)[e] : 0.0f;
    }
  std::fill_n(to + p.sides * (p.K + 1) * p.E, p.E, 0.0f);
}

// Four tokens see 4 + K - 1 tokens of the other sequence: where their rows begin.
template <int K>
using Window = std::array<const float*, 4 + K - 1>;
template <int K>
Window<K> window(const float* image, int64_t row, int64_t L, int64_t first, const float* zeros) {
  Window<K> rows;
  for (int i = 0; i < 4 + K - 1; ++i)
    rows[i] = first + i < 0 || first + i >= L ? zeros : image + (first + i) * row;
  return rows;
}
template <int K>
struct Seen {
  Lanes v[4 + K - 1];
};
template <int K>
KRAIT_LANES Seen<K> load_window(const Window<K>& rows, int64_t e, int count) {
  Seen<K> x;
  for (int i = 0; i < 4 + K - 1; ++i) x.v[i] = load(rows[i] + e, count);
  return x;
}

// q of four tokens. taps (K + 1, E)
template <int K>
KRAIT_LANES Lanes4 q_of(const Seen<K>& x, const float* taps, int64_t E, int64_t e, int count) {
  const Lanes b = load(taps + K * E + e, count);
  Lanes4 q = four([&](int) { return b; });
  for (int k = 0; k < K; ++k) {
    const Lanes w = load(taps + k * E + e, count);
    q = q + four([&](int i) { return w * x.v[i + k]; });
  }
  return q;
}

// Calls f(e, count) for each 8 channels; the last may be fewer.
template <class F>
KRAIT_LANES void by_channels(int64_t E, F&& f) {
  for (int64_t e = 0; e + lanes <= E; e += lanes) f(e, lanes);
  if (E % lanes) f(E / lanes * lanes, static_cast<int>(E % lanes));
}

template <int K>
void forward(const Conv1dFwd& p, int64_t b, int64_t t, const float* all_taps) {
  const int64_t E = p.E, L = p.L, many = std::min<int64_t>(L - t, 4);
  const float* image = static_cast<const float*>(p.x) + b * L * p.x_row;
  const float* zeros = all_taps + p.sides * (K + 1) * E;
  for (int n = 0; n < p.sides; ++n) {
    const auto& s = p.side[n];
    const float* taps = all_taps + n * (K + 1) * E;
    const auto rows = window<K>(image, p.x_row, L, s.reverse ? t : t - (K - 1), zeros);
    float* y = static_cast<float*>(s.y) + (b * L + t) * E;
    by_channels(E, [&](int64_t e, int count) {
      Lanes4 q = q_of<K>(load_window<K>(rows, e, count), taps, E, e, count);
      if (p.silu) q = silu_lanes(q);
      for (int i = 0; i < many; ++i) store(y + i * E + e, q.v[i], count);
    });
  }
}

constexpr int64_t most_slices = 64;
int64_t slices_of(const Conv1dBwd& p) {
  return std::min(p.B, most_slices);
}
// Of one slice: its sums of dw (K, E) and db (E) for each side.
int64_t slice_count(const Conv1dBwd& p) {
  return p.sides * (p.K + 1) * p.E;
}

// dq (L, E) of one image and side, and its share of the sums dw and db (K + 1, E).
template <int K>
void backward_q(const Conv1dBwd& p, int n, int64_t b, const float* all_taps, float* dq,
                float* sums) {
  const int64_t E = p.E, L = p.L;
  const auto& s = p.side[n];
  const float* taps = all_taps + n * (K + 1) * E;
  const float* zeros = all_taps + p.sides * (K + 1) * E;
  const float* image = static_cast<const float*>(p.x) + b * L * p.x_row;
  for (int64_t t = 0; t < L; t += 4) {
    const auto rows = window<K>(image, p.x_row, L, s.reverse ? t : t - (K - 1), zeros);
    const auto dy = window<1>(static_cast<const float*>(s.dy) + b * L * E, E, L, t, zeros);
    by_channels(E, [&](int64_t e, int count) {
      const Seen<K> x = load_window<K>(rows, e, count);
      Lanes4 d = four([&](int i) { return load(dy[i] + e, count); });
      if (p.silu) d = d * silu_slope_lanes(q_of<K>(x, taps, E, e, count));
      for (int i = 0; i < std::min<int64_t>(L - t, 4); ++i)
        store(dq + (t + i) * E + e, d.v[i], count);
      auto add = [&](int k, const Lanes4& v) {
        store_or_add(sums + k * E + e, (v.v[0] + v.v[1]) + (v.v[2] + v.v[3]), count, true);
      };
      for (int k = 0; k < K; ++k) add(k, four([&](int i) { return d.v[i] * x.v[i + k]; }));
      add(K, d);
    });
  }
}
// dx of one image from the dq (sides, L, E).
template <int K>
void backward_x(const Conv1dBwd& p, int64_t b, const float* all_taps, const float* all_dq) {
  const int64_t E = p.E, L = p.L;
  const float* zeros = all_taps + p.sides * (K + 1) * E;
  for (int64_t t = 0; t < L; t += 4) {
    bool add = p.accumulate_dx;
    float* dx = static_cast<float*>(p.dx) + (b * L + t) * p.dx_row;
    for (int n = 0; n < p.sides; ++n) {
      const auto& s = p.side[n];
      if (!s.dy) continue;
      const float* taps = all_taps + n * (K + 1) * E;
      const auto rows = window<K>(all_dq + n * L * E, E, L, s.reverse ? t - (K - 1) : t, zeros);
      by_channels(E, [&](int64_t e, int count) {
        const Seen<K> dq = load_window<K>(rows, e, count);
        Lanes4 v = all_lanes<Lanes4>(0);
        for (int k = 0; k < K; ++k) {
          const Lanes w = load(taps + k * E + e, count);
          v = v + four([&](int i) { return w * dq.v[i + (K - 1) - k]; });
        }
        for (int i = 0; i < std::min<int64_t>(L - t, 4); ++i)
          store_or_add(dx + i * p.dx_row + e, v.v[i], count, add);
      });
      add = true;  // the next side adds to this one's
    }
    if (!add)  // no side had a gradient
      for (int i = 0; i < std::min<int64_t>(L - t, 4); ++i) std::fill_n(dx + i * p.dx_row, E, 0.0f);
  }
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
  with_taps<1>(p.K, [&]<int K>() {
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t b = 0; b < p.B; ++b)
      for (int64_t t = 0; t < p.L; t += 4) forward<K>(p, b, t, taps);
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
  float* slices = taps + taps_count(p);
  const int64_t count = slices_of(p);
  with_taps<1>(p.K, [&]<int K>() {
#pragma omp parallel
    {
      std::vector<float> dq(p.sides * p.L * p.E);
#pragma omp for schedule(dynamic, 1)
      for (int64_t s = 0; s < count; ++s) {
        float* sums = slices + s * slice_count(p);
        std::fill_n(sums, slice_count(p), 0.0f);
        for (int64_t b = p.B * s / count; b < p.B * (s + 1) / count; ++b) {
          for (int n = 0; n < p.sides; ++n)
            if (p.side[n].dy)
              backward_q<K>(p, n, b, taps, dq.data() + n * p.L * p.E, sums + n * (K + 1) * p.E);
          if (p.dx) backward_x<K>(p, b, taps, dq.data());
        }
      }
    }
  });
  for (int n = 0; n < p.sides; ++n)
    for (int k = 0; k <= p.K; ++k)
      for (int64_t e = 0; e < p.E; ++e) {
        const auto& side = p.side[n];
        float sum = 0;
        for (int64_t s = 0; s < count; ++s)
          sum += slices[s * slice_count(p) + (n * (p.K + 1) + k) * p.E + e];
        const int tap = side.reverse ? p.K - 1 - k : k;
        if (k < p.K && side.dw) static_cast<float*>(side.dw)[e * p.K + tap] += sum;
        if (k == p.K && side.db) static_cast<float*>(side.db)[e] += sum;
      }
}

}  // namespace krait
