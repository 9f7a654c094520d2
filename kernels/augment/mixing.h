// How pictures are mixed: mixup (Zhang et al. 2018), CutMix (Yun et al. 2019), by timm's Mixup.
#pragma once

#include "kernels/augment/choices.h"
#include "kernels/common/numbers.h"
#include "kernels/common/step_state.h"

namespace krait {

struct MixRules {
  MixMode mode;
  double mixup, cutmix;  // alpha of Beta(alpha, alpha); 0: off
  double prob, switch_prob;
  double minmax_low, minmax_high;  // sides of boxes, as shares; high 0: from lambda
};

struct Region {
  int32_t x0, x1, y0, y1;  // [x0, x1) x [y0, y1)
  KRAIT_HD bool has(int y, int x) const { return x >= x0 && x < x1 && y >= y0 && y < y1; }
};

struct MixChoice {
  Mix mix = Mix::none;
  float lambda = 1;  // the share of the picture itself in its target
  Region box = {0, 0, 0, 0};
};

KRAIT_HD inline Region draw_box(Numbers& numbers, const MixRules& r, double lambda, int size) {
  if (r.minmax_high > 0) {
    const int low = static_cast<int>(product(size, r.minmax_low));
    const int high = static_cast<int>(product(size, r.minmax_high));
    const int height = low + numbers.up_to(high - low - 1);
    const int width = low + numbers.up_to(high - low - 1);
    const int y = numbers.up_to(size - height), x = numbers.up_to(size - width);
    return {x, x + width, y, y + height};
  }
  const int half = static_cast<int>(product(size, sqrt(1 - lambda))) / 2;
  const int y = numbers.up_to(size - 1), x = numbers.up_to(size - 1);
  auto clip = [&](int v) { return v < 0 ? 0 : v > size ? size : v; };
  return {clip(x - half), clip(x + half), clip(y - half), clip(y + half)};
}

KRAIT_HD inline MixChoice draw_mix_choice(Numbers numbers, const MixRules& r, int size) {
  MixChoice choice;
  const bool cuts = r.cutmix > 0 || r.minmax_high > 0;
  if (!numbers.chance(r.prob) || (r.mixup <= 0 && !cuts)) return choice;
  const bool cut = r.mixup <= 0 || (cuts && numbers.chance(r.switch_prob));
  // With minmax, timm sets CutMix's alpha to 1; the box does not depend on lambda then.
  const double lambda = numbers.beta(!cut ? r.mixup : r.minmax_high > 0 ? 1 : r.cutmix);
  choice.lambda = static_cast<float>(lambda);
  choice.mix = cut ? Mix::cutmix : Mix::mixup;
  if (!cut) return choice;
  choice.box = draw_box(numbers, r, lambda, size);
  // The share that is left of the picture itself, now that the box has been clipped.
  const Region& b = choice.box;
  const double area = static_cast<double>(b.x1 - b.x0) * (b.y1 - b.y0);
  choice.lambda = static_cast<float>(1 - area / (static_cast<double>(size) * size));
  return choice;
}

// How picture i of B is mixed with picture B-1-i.
KRAIT_HD inline MixChoice mix_of_picture(const MixRules& r, const StepState& s, int64_t i,
                                         int64_t B, int size) {
  if (!s.mixes) return {};
  if (r.mode == MixMode::batch)
    return {s.mix, s.mix == Mix::none ? 1 : s.lambda, {s.box_x0, s.box_x1, s.box_y0, s.box_y1}};
  const int64_t drawn = r.mode == MixMode::pair && B - 1 - i < i ? B - 1 - i : i;
  return draw_mix_choice(Numbers(s.seed, Draw::mix, s.step, s.share.place(drawn)), r, size);
}

}  // namespace krait
