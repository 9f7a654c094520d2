// CPU rows, f32: a vector of channels and four tokens of a grid row at a time; grid rows (forward)
// or slices of the batch (backward) are shared out to threads. The slices do not depend on the
// number of threads, so neither does the result.
#include <algorithm>
#include <vector>

#include "kernels/common/lanes.h"
#include "kernels/depthwise_conv2d/rows.h"

namespace krait {
namespace {

constexpr int64_t most_slices = 64;

// In scratch: the taps (9, E) and the bias (E), so that neighbouring channels lie side by side;
// then a row of zeros (E), which stands for the tokens outside.
template <class P>
int64_t taps_count(const P& p) {
  return 11 * p.E;
}
template <class P>
void lay_out_taps(const P& p, float* to) {
  for (int64_t e = 0; e < p.E; ++e) {
    for (int k = 0; k < 9; ++k) to[k * p.E + e] = static_cast<const float*>(p.w)[e * 9 + k];
    to[9 * p.E + e] = p.b ? static_cast<const float*>(p.b)[e] : 0.0f;
    to[10 * p.E + e] = 0;
  }
}

// Where the tokens that tokens (y, x) to (y, x + 3) look at lie.
struct Window {
  const float* at[3][6];
};
Window window(const float* image, int64_t row, int64_t H, int64_t W, int64_t y, int64_t x,
              const float* zeros) {
  Window w;
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 6; ++j) {
      const int64_t r = y + i - 1, c = x + j - 1;
      w.at[i][j] = r < 0 || r >= H || c < 0 || c >= W ? zeros : image + (r * W + c) * row;
    }
  return w;
}
// Four tokens' values under tap (i, j).
KRAIT_LANES Lanes4 under(const Window& w, int i, int j, int64_t e, int count) {
  return four([&](int n) { return load(w.at[i][j + n] + e, count); });
}
// start + sum of taps times the window; mirrored: as the gradient goes.
template <bool mirrored>
KRAIT_LANES Lanes4 convolve(const Window& w, const float* taps, int64_t E, int64_t e, int count,
                            Lanes start) {
  Lanes4 q = four([&](int) { return start; });
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) {
      const int tap = mirrored ? 8 - (i * 3 + j) : i * 3 + j;
      const Lanes t = load(taps + tap * E + e, count);
      q = q + four([&](int n) { return t * load(w.at[i][j + n] + e, count); });
    }
  return q;
}

template <class F>
KRAIT_LANES void by_channels(int64_t E, F&& f) {
  for (int64_t e = 0; e + lanes <= E; e += lanes) f(e, lanes);
  if (E % lanes) f(E / lanes * lanes, static_cast<int>(E % lanes));
}

// dq (L, E) of image b, and its share of the sums dw and db (10, E).
void backward_q(const DepthwiseConv2dBwd& p, int64_t b, const float* taps, float* dq, float* sums) {
  const int64_t E = p.E, L = p.H * p.W;
  const float *zeros = taps + 10 * E, *dy = static_cast<const float*>(p.dy) + b * L * E;
  const float* image = static_cast<const float*>(p.x) + b * L * p.x_row;
  for (int64_t y = 0; y < p.H; ++y)
    for (int64_t x = 0; x < p.W; x += 4) {
      const Window w = window(image, p.x_row, p.H, p.W, y, x, zeros);
      const int64_t t = y * p.W + x, many = std::min<int64_t>(p.W - x, 4);
      by_channels(E, [&](int64_t e, int count) {
        Lanes4 d =
            four([&](int n) { return load(n < many ? dy + (t + n) * E + e : zeros, count); });
        if (p.silu)
          d = d * silu_slope_lanes(
                      convolve<false>(w, taps, E, e, count, load(taps + 9 * E + e, count)));
        for (int n = 0; n < many; ++n) store(dq + (t + n) * E + e, d.v[n], count);
        auto add = [&](int k, const Lanes4& v) {
          store_or_add(sums + k * E + e, (v.v[0] + v.v[1]) + (v.v[2] + v.v[3]), count, true);
        };
        for (int k = 0; k < 9; ++k) add(k, d * under(w, k / 3, k % 3, e, count));
        add(9, d);
      });
    }
}
// dx of image b from its dq (L, E).
void backward_x(const DepthwiseConv2dBwd& p, int64_t b, const float* taps, const float* dq) {
  const int64_t E = p.E, L = p.H * p.W;
  for (int64_t y = 0; y < p.H; ++y)
    for (int64_t x = 0; x < p.W; x += 4) {
      const Window w = window(dq, E, p.H, p.W, y, x, taps + 10 * E);
      float* dx = static_cast<float*>(p.dx) + (b * L + y * p.W + x) * p.dx_row;
      by_channels(E, [&](int64_t e, int count) {
        const Lanes4 v = convolve<true>(w, taps, E, e, count, all_lanes(0.0f));
        for (int n = 0; n < std::min<int64_t>(p.W - x, 4); ++n)
          store_or_add(dx + n * p.dx_row + e, v.v[n], count, p.accumulate_dx);
      });
    }
}

}  // namespace

bool depthwise_conv2d_fwd_openmp_supports(const DepthwiseConv2dFwd& p, const Device&) {
  return p.dtype == DType::f32;
}
size_t depthwise_conv2d_fwd_openmp_scratch(const DepthwiseConv2dFwd& p) {
  return taps_count(p) * sizeof(float);
}

void depthwise_conv2d_fwd_openmp(const DepthwiseConv2dFwd& p, const Launch& l) {
  float* taps = static_cast<float*>(l.scratch);
  lay_out_taps(p, taps);
  const int64_t E = p.E, L = p.H * p.W;
#pragma omp parallel for collapse(2) schedule(static)
  for (int64_t b = 0; b < p.B; ++b)
    for (int64_t y = 0; y < p.H; ++y)
      for (int64_t x = 0; x < p.W; x += 4) {
        const Window w = window(static_cast<const float*>(p.x) + b * L * p.x_row, p.x_row, p.H, p.W,
                                y, x, taps + 10 * E);
        float* to = static_cast<float*>(p.y) + (b * L + y * p.W + x) * E;
        by_channels(E, [&](int64_t e, int count) {
          Lanes4 q = convolve<false>(w, taps, E, e, count, load(taps + 9 * E + e, count));
          if (p.silu) q = silu_lanes(q);
          for (int n = 0; n < std::min<int64_t>(p.W - x, 4); ++n)
            store(to + n * E + e, q.v[n], count);
        });
      }
}

bool depthwise_conv2d_bwd_openmp_supports(const DepthwiseConv2dBwd& p, const Device&) {
  return p.dtype == DType::f32;
}
size_t depthwise_conv2d_bwd_openmp_scratch(const DepthwiseConv2dBwd& p) {
  return (taps_count(p) + std::min(p.B, most_slices) * 10 * p.E) * sizeof(float);
}

void depthwise_conv2d_bwd_openmp(const DepthwiseConv2dBwd& p, const Launch& l) {
  float* taps = static_cast<float*>(l.scratch);
  lay_out_taps(p, taps);
  float* slices = taps + taps_count(p);
  const int64_t count = std::min(p.B, most_slices), E = p.E;
#pragma omp parallel
  {
    std::vector<float> dq(p.H * p.W * E);
#pragma omp for schedule(dynamic, 1)
    for (int64_t s = 0; s < count; ++s) {
      float* sums = slices + s * 10 * E;
      std::fill_n(sums, 10 * E, 0.0f);
      for (int64_t b = p.B * s / count; b < p.B * (s + 1) / count; ++b) {
        backward_q(p, b, taps, dq.data(), sums);
        if (p.dx) backward_x(p, b, taps, dq.data());
      }
    }
  }
  for (int64_t e = 0; e < E; ++e)
    for (int k = 0; k < 10; ++k) {
      float sum = 0;
      for (int64_t s = 0; s < count; ++s) sum += slices[(s * 10 + k) * E + e];
      if (k < 9 && p.dw) static_cast<float*>(p.dw)[e * 9 + k] += sum;
      if (k == 9 && p.db) static_cast<float*>(p.db)[e] += sum;
    }
}

}  // namespace krait
