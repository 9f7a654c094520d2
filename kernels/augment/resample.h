// Scaling as Pillow does it (Image.resize, src/libImaging/Resample.c): first along the rows, then
// along the columns, each rounded to bytes. A pixel is a weighted sum of those that a filter
// centred on it covers; when the picture shrinks, the filter is widened (antialiasing). Weights
// have 22 bits after the point.
#pragma once

#include "kernels/augment/team.h"
#include "kernels/common/portable_math.h"

namespace krait {

constexpr int weight_bits = 22;

// A triangle, or Keys' cubic with a = -0.5.
KRAIT_HD inline double resize_filter(bool bicubic, double x) {
  if (x < 0) x = -x;
  if (!bicubic) return x < 1 ? 1 - x : 0;
  if (x < 1) return product(product(product(1.5, x) - 2.5, x), x) + 1;
  if (x < 2) return product(product(product(x - 5, x) + 8, x) - 4, -0.5);
  return 0;
}

// Which of `from` pixels become pixel `to` of `size`.
struct FilterWindow {
  double center, inverse;  // inverse = 1 / how much wider the filter is
  int first, count;
  KRAIT_HD FilterWindow(bool bicubic, int from, int size, int to) {
    const double scale = static_cast<double>(from) / size, wider = scale < 1 ? 1 : scale;
    const double support = product(bicubic ? 2.0 : 1.0, wider);
    center = product(to + 0.5, scale);
    inverse = 1 / wider;
    first = static_cast<int>(center - support + 0.5);
    if (first < 0) first = 0;
    int end = static_cast<int>(center + support + 0.5);
    if (end > from) end = from;
    count = end - first;
  }
  KRAIT_HD double weight(bool bicubic, int k) const {
    return resize_filter(bicubic, product(k + first - center + 0.5, inverse));
  }
};

// Weights that a pixel can have at most.
inline int most_weights(bool bicubic, int from, int size) {
  const double scale = static_cast<double>(from) / size;
  return static_cast<int>(std::ceil((bicubic ? 2 : 1) * (scale < 1 ? 1 : scale))) * 2 + 1;
}

// Of pixel `to`: the first source pixel, their number, the weights.
KRAIT_HD inline void pixel_weights(bool bicubic, int from, int size, int to, int32_t* out) {
  const FilterWindow window(bicubic, from, size, to);
  out[0] = window.first;
  out[1] = window.count;
  double sum = 0;
  for (int k = 0; k < window.count; ++k) sum += window.weight(bicubic, k);
  for (int k = 0; k < window.count; ++k) {
    double w = window.weight(bicubic, k);
    if (sum != 0) w /= sum;
    out[2 + k] = static_cast<int32_t>(product(w, double{1 << weight_bits}) + (w < 0 ? -0.5 : 0.5));
  }
}

// The weights of a whole axis: for each pixel the first source pixel, their number, the weights.
struct WeightTable {
  int32_t* at;
  int stride;  // most_weights + 2
  KRAIT_HD const int32_t* of(int to) const { return at + to * stride; }
};

template <class Team>
KRAIT_HD void fill_weights(const Team& team, const WeightTable& table, bool bicubic, int from,
                           int size) {
  each(team, size,
       [&](int to) { pixel_weights(bicubic, from, size, to, table.at + to * table.stride); });
}

KRAIT_HD inline uint8_t clipped(int v) {
  return static_cast<uint8_t>(v < 0 ? 0 : v > 255 ? 255 : v);
}

// `step`: bytes between the source pixels of the sum.
KRAIT_HD inline uint8_t weighted_sum(const uint8_t* pixel, int step, const int32_t* weights) {
  int32_t sum = 1 << (weight_bits - 1);
  for (int k = 0; k < weights[1]; ++k) sum += pixel[k * step] * weights[2 + k];
  return clipped(sum >> weight_bits);
}

// `in` scaled to height x width at `out`, packed, maybe mirrored. `between` has room for
// channels * in.height * width bytes.
template <class Team>
KRAIT_HD void resize(const Team& team, const Pixels& in, int channels, bool bicubic, int height,
                     int width, bool mirrored, const WeightTable& table, uint8_t* between,
                     uint8_t* out) {
  fill_weights(team, table, bicubic, in.width, width);
  team.sync();
  for (int c = 0; c < channels; ++c) {
    uint8_t* plane = between + c * in.height * width;
    team.each_pixel(in.height, width, [&](int y, int x) {
      const int32_t* w = table.of(x);
      plane[y * width + x] = weighted_sum(in.at + c * in.plane + y * in.row + w[0], 1, w);
    });
  }
  team.sync();
  fill_weights(team, table, bicubic, in.height, height);
  team.sync();
  for (int c = 0; c < channels; ++c) {
    const uint8_t* plane = between + c * in.height * width;
    team.each_pixel(height, width, [&](int y, int x) {
      const int32_t* w = table.of(y);
      const int from = mirrored ? width - 1 - x : x;
      out[(c * height + y) * width + x] = weighted_sum(plane + w[0] * width + from, width, w);
    });
  }
  team.sync();
}

}  // namespace krait
