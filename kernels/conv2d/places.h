// Where pixels, taps and outputs meet, for both backends.
#pragma once

#include "kernels/conv2d/conv2d.h"

namespace krait {

// The pixel that output `row` (of B high wide) has under tap i k + j: its index in (B, H, W), or -1
// if it lies outside. Both must be below 2^31.
KRAIT_HD inline int64_t pixel_under(const ConvShape& s, uint32_t row, uint32_t tap) {
  const uint32_t wide = static_cast<uint32_t>(s.wide()), outputs = wide * uint32_t(s.high());
  const uint32_t b = row / outputs, output = row - b * outputs;
  const int oy = static_cast<int>(output / wide), ox = static_cast<int>(output - oy * wide);
  const int k = static_cast<int>(s.k), i = static_cast<int>(tap) / k;
  const int j = static_cast<int>(tap) - i * k;
  const int y = oy * static_cast<int>(s.stride) - static_cast<int>(s.pad) + i;
  const int x = ox * static_cast<int>(s.stride) - static_cast<int>(s.pad) + j;
  if (y < 0 || y >= s.H || x < 0 || x >= s.W) return -1;
  return (b * s.H + y) * s.W + x;
}

// Calls f(output, tap) for every output of a picture (of high wide) that looks at its pixel (y, x),
// tap by tap.
template <class F>
KRAIT_HD void for_outputs_at(const ConvShape& s, int y, int x, F&& f) {
  const int k = static_cast<int>(s.k), stride = static_cast<int>(s.stride);
  const int high = static_cast<int>(s.high()), wide = static_cast<int>(s.wide());
  for (int i = 0; i < k; ++i) {
    const int up = y + static_cast<int>(s.pad) - i, oy = up / stride;
    if (up < 0 || oy * stride != up || oy >= high) continue;
    for (int j = 0; j < k; ++j) {
      const int left = x + static_cast<int>(s.pad) - j, ox = left / stride;
      if (left < 0 || ox * stride != left || ox >= wide) continue;
      f(oy * wide + ox, i * k + j);
    }
  }
}

}  // namespace krait
