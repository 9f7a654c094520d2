// Which operations a picture gets: RandAugment (Cubuk et al. 2020) and AutoAugment (Cubuk et al.
// 2019) by timm's rules (timm/data/auto_augment.py), 3-Augment (Touvron et al. 2022), colour jitter
// (torchvision's ColorJitter).
#pragma once

#include "kernels/augment/operations.h"
#include "kernels/augment/pictures.h"
#include "kernels/common/numbers.h"

namespace krait {

struct OperationList {
  int count = 0;
  PictureOperation at[AugmentPictures::max_operations];
  KRAIT_HD PictureOperation& add(Operation operation, double value = 0) {
    PictureOperation& o = at[count++];
    o.operation = operation;
    o.bicubic = false;
    o.value = value;
    return o;
  }
  KRAIT_HD void add_map(double a, double b, double c, double d, double e, double f) {
    PictureOperation& o = add(Operation::affine);
    o.map[0] = a, o.map[1] = b, o.map[2] = c;
    o.map[3] = d, o.map[4] = e, o.map[5] = f;
  }
};

// Rounded to 15 decimals, as Image.rotate does: exactly, so with what v 10^15 lost in rounding.
KRAIT_HD inline double round15(double v) {
  const double scaled = product(v, 1e15), lost = fma(v, 1e15, -scaled);
  const double whole = floor(scaled + 0.5), rest = scaled - whole + lost;
  return (rest > 0.5 ? whole + 1 : rest < -0.5 ? whole - 1 : whole) / 1e15;
}

// Image.rotate by `degrees` about the middle of an S x S picture.
KRAIT_HD inline void add_rotation(OperationList& list, double degrees, int S) {
  double angle = degrees - product(360.0, floor(degrees / 360.0));
  if (angle == 0) return;
  const SinCos at = portable_sin_cos(-product(angle, 0.017453292519943295));
  const double c = round15(at.cos), s = round15(at.sin), minus_s = round15(-at.sin);
  const double middle = S / 2.0;
  list.add_map(c, s, product(c, -middle) + product(s, -middle) + middle, minus_s, c,
               product(minus_s, -middle) + product(c, -middle) + middle);
}

// The operation of `rule` at `level` in 0 .. 10 on S x S pixels; `sign` is 1 or -1.
KRAIT_HD inline void add_operation(OperationList& list, Rule rule, double level, double sign,
                                   const OperationRules& r, int S) {
  const double share = level / 10;
  const int bits = static_cast<int>(product(share, 4.0));
  const int threshold = static_cast<int>(product(share, 256.0));
  const double enhance = product(share, 1.8) + 0.1;
  const double nearer = 1 + product(sign, product(share, 0.9)),
               increasing = nearer < 0.1 ? 0.1 : nearer;
  const double shear = product(sign, product(share, 0.3));
  const double shift = product(product(sign, product(share, r.translate)), S);
  switch (rule) {
    case Rule::auto_contrast:
      list.add(Operation::auto_contrast);
      break;
    case Rule::equalize:
      list.add(Operation::equalize);
      break;
    case Rule::invert:
      list.add(Operation::invert);
      break;
    case Rule::rotate:
      return add_rotation(list, product(sign, product(share, 30.0)), S);
    case Rule::posterize:
      list.add(Operation::posterize, bits);
      break;
    case Rule::posterize_increasing:
      list.add(Operation::posterize, 4 - bits < 0 ? 0 : 4 - bits);
      break;
    case Rule::posterize_original:
      list.add(Operation::posterize, 4 + bits);
      break;
    case Rule::posterize_cubuk:
      list.add(Operation::posterize, 8 - floor(product(share, 4.0) + 0.5));
      break;
    case Rule::solarize:
      list.add(Operation::solarize, threshold < 256 ? threshold : 256);
      break;
    case Rule::solarize_increasing:
      list.add(Operation::solarize, threshold < 256 ? 256 - threshold : 0);
      break;
    case Rule::solarize_cubuk:
      list.add(Operation::solarize, ceil(255 - product(share, 255.0)));
      break;
    case Rule::solarize_add: {
      const int add = static_cast<int>(product(share, 110.0));
      list.add(Operation::solarize_add, add < 128 ? add : 128);
      break;
    }
    case Rule::color:
    case Rule::color_increasing:
      list.add(Operation::color, rule == Rule::color ? enhance : increasing);
      break;
    case Rule::contrast:
    case Rule::contrast_increasing:
      list.add(Operation::contrast, rule == Rule::contrast ? enhance : increasing);
      break;
    case Rule::brightness:
    case Rule::brightness_increasing:
      list.add(Operation::brightness, rule == Rule::brightness ? enhance : increasing);
      break;
    case Rule::sharpness:
    case Rule::sharpness_increasing:
      list.add(Operation::sharpness, rule == Rule::sharpness ? enhance : increasing);
      break;
    case Rule::shear_x:
      return list.add_map(1, shear, 0, 0, 1, 0);
    case Rule::shear_y:
      return list.add_map(1, 0, 0, shear, 1, 0);
    case Rule::translate_x:
      return list.add_map(1, 0, shift, 0, 1, 0);
    case Rule::translate_y:
      return list.add_map(1, 0, 0, 0, 1, shift);
  }
}

// timm's AugmentOp: maybe, at a level near `level`.
KRAIT_HD inline void maybe_add(OperationList& list, Numbers& numbers, const OperationRules& r,
                               const OperationRules::Step& step, const CropRules& crop, int S) {
  if (!numbers.chance(step.probability)) return;
  double level = step.level;
  if (r.deviation > 1e6)
    level = numbers.uniform(0, level);
  else if (r.deviation > 0)
    level = fma(r.deviation, numbers.normal(), level);
  level = level < 0 ? 0 : level > r.limit ? r.limit : level;
  const int before = list.count;
  add_operation(list, step.rule, level, numbers.either_sign(1), r, S);
  if (list.count == before) return;
  PictureOperation& o = list.at[before];
  if (o.operation == Operation::affine)
    o.bicubic = crop.interpolation == Interpolation::bicubic ||
                (crop.interpolation == Interpolation::random && numbers.chance(0.5));
}

// Grayscale, solarize or blur, with equal chances.
KRAIT_HD inline void add_three_augment(OperationList& list, Numbers& numbers) {
  const int which = numbers.up_to(2);
  if (which == 0) list.add(Operation::grayscale);
  if (which == 1) list.add(Operation::solarize, 128);
  if (which == 2) list.add(Operation::blur, numbers.uniform(0.1, 2.0));
}

// Brightness, contrast and saturation in random order.
KRAIT_HD inline void add_color_jitter(OperationList& list, Numbers& numbers, double v) {
  Operation order[3] = {Operation::brightness, Operation::contrast, Operation::color};
  for (int k = 2; k > 0; --k) {
    const int other = numbers.up_to(k);
    const Operation keep = order[k];
    order[k] = order[other];
    order[other] = keep;
  }
  for (Operation o : order) list.add(o, numbers.uniform(v < 1 ? 1 - v : 0, 1 + v));
}

KRAIT_HD inline void draw_operations(OperationList& list, const AugmentPictures& p,
                                     const StepState& state, int64_t index) {
  const OperationRules& r = p.operations;
  list.count = 0;
  if (!p.train || !state.operates) return;
  Numbers numbers(state.seed, Draw::operation, state.step, index);
  for (int k = 0; k < r.layers; ++k) {
    const OperationRules::Step rand{r.choice[numbers.up_to(r.choices - 1)],
                                    static_cast<float>(r.probability), static_cast<float>(r.level)};
    maybe_add(list, numbers, r, rand, p.crop, p.S);
  }
  if (r.policies > 0) {
    const auto& row = r.policy[numbers.up_to(r.policies - 1)];
    for (const auto& s : row) maybe_add(list, numbers, r, s, p.crop, p.S);
  }
  if (r.three_augment) add_three_augment(list, numbers);
  if (r.color_jitter > 0) add_color_jitter(list, numbers, r.color_jitter);
}

}  // namespace krait
