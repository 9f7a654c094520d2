// Random erasing (Zhong et al. 2020) by timm's RandomErasing: boxes of the normalised picture are
// filled with noise.
#pragma once

#include "kernels/augment/mixing.h"

namespace krait {

struct EraseRules {
  static constexpr int max_boxes = 8;
  double prob;
  EraseMode mode;
  int count;  // 1 .. count boxes, which share 2 to 33 % of the area
};

struct Erasure {
  static constexpr int max_channels = 3;
  int count = 0;
  EraseMode mode = EraseMode::constant;
  uint64_t seed = 0, step = 0, first = 0;  // of the picture's noise
  Region box[EraseRules::max_boxes];
  float color[EraseRules::max_boxes][max_channels];

  // N(0, 1), for one value of a picture.
  KRAIT_HD float noise(int64_t at) const {
    const Random4 r =
        philox(seed, static_cast<uint32_t>(Draw::noise), step, first | static_cast<uint64_t>(at));
    const double u = (r.word[0] + 0.5) * 0x1p-32, v = (r.word[1] + 0.5) * 0x1p-32;
    return static_cast<float>(
        product(sqrt(-2 * portable_log(u)), portable_sin_cos(6.283185307179586 * v).cos));
  }
  // Value `v` of channel c at (y, x) of S x S; the last box on top.
  template <class A>
  KRAIT_HD A operator()(int c, int y, int x, int S, A v) const {
    for (int k = count - 1; k >= 0; --k)
      if (box[k].has(y, x))
        return mode == EraseMode::pixel  ? A(noise((int64_t{c} * S + y) * S + x))
               : mode == EraseMode::rand ? A(color[k][c])
                                         : A(0);
    return v;
  }
};

KRAIT_HD inline void draw_erasure(Erasure& e, const EraseRules& r, uint64_t seed, uint64_t step,
                                  int64_t index, int S) {
  e.count = 0;
  if (r.prob <= 0) return;
  Numbers numbers(seed, Draw::erase, step, index);
  if (!numbers.chance(r.prob)) return;
  e.mode = r.mode;
  e.seed = seed;
  e.step = step;
  e.first = static_cast<uint64_t>(index) << 32;
  const int boxes = 1 + numbers.up_to(r.count - 1);
  const double log_low = portable_log(0.3), log_high = portable_log(1 / 0.3);
  for (int k = 0; k < boxes; ++k)
    for (int attempt = 0; attempt < 10; ++attempt) {
      const double area =
          product(numbers.uniform(0.02, 1.0 / 3), static_cast<double>(S) * S) / boxes;
      const double ratio = portable_exp(numbers.uniform(log_low, log_high));
      const int height = static_cast<int>(floor(sqrt(product(area, ratio)) + 0.5));
      const int width = static_cast<int>(floor(sqrt(area / ratio) + 0.5));
      if (height >= S || width >= S) continue;
      const int y = numbers.up_to(S - height), x = numbers.up_to(S - width);
      for (float& color : e.color[e.count])
        color = r.mode == EraseMode::rand ? static_cast<float>(numbers.normal()) : 0;
      e.box[e.count++] = {x, x + width, y, y + height};
      break;
    }
}

}  // namespace krait
