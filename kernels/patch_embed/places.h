// Where pixels and patches meet, for both backends: what the rows of the gathered patches hold, and
// which patches lie on a pixel.
#pragma once

#include "kernels/patch_embed/patch_embed.h"

namespace krait {

// The pixel of element `at` of the gathered patches (B P, C p p): its index in images (B, C, H, W).
KRAIT_HD inline int64_t gathered_pixel(const PatchGrid& g, int64_t at) {
  // 32 bits, where they are enough, are divided several times faster.
  const int64_t n = g.numbers(), wide = g.wide(), P = g.high() * wide;
  const bool few = at < int64_t{1} << 31;
  const int64_t row = few ? uint32_t(at) / uint32_t(n) : at / n;
  const int64_t b = few ? uint32_t(row) / uint32_t(P) : row / P;
  const int place = static_cast<int>(at - row * n), patch = static_cast<int>(row - b * P);
  const int p = static_cast<int>(g.p), c = place / (p * p), in = place - c * p * p;
  const int i = in / p, j = in - i * p;
  const int py = patch / static_cast<int>(wide), px = patch - py * static_cast<int>(wide);
  return ((b * g.C + c) * g.H + py * g.stride + i) * g.W + px * g.stride + j;
}

// Calls f(patch, place) for every patch on pixel (c, y, x), in the order of the patches; place is
// the pixel's place within that patch.
template <class F>
KRAIT_HD void for_patches_on(const PatchGrid& g, int64_t c, int64_t y, int64_t x, F&& f) {
  const int64_t high = g.high(), wide = g.wide();
  const int64_t top = y < g.p ? 0 : (y - g.p) / g.stride + 1;
  const int64_t left = x < g.p ? 0 : (x - g.p) / g.stride + 1;
  for (int64_t py = top; py < high && py * g.stride <= y; ++py)
    for (int64_t px = left; px < wide && px * g.stride <= x; ++px)
      f(py * wide + px, (c * g.p + y - py * g.stride) * g.p + x - px * g.stride);
}

}  // namespace krait
