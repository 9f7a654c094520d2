// What a user may ask of an augmentation, and how it is called.
#include "engine/data/policy.h"
#include "kernels/augment/erase.h"
#include "kernels/augment/geometry.h"

namespace krait {
namespace {

template <class Value>
Value named(const char* what, const std::string& name,
            std::initializer_list<std::pair<const char*, Value>> known) {
  std::string names;
  for (const auto& [text, value] : known) {
    if (name == text) return value;
    names += cat(names.empty() ? "" : ", ", text);
  }
  throw InputError(cat("unknown ", what, " \"", name, "\" (there are ", names, ")"));
}

void check_mixing(const MixOptions& m, int size) {
  for (const auto& [v, what] : {std::pair(m.prob, "mixing"), std::pair(m.switch_prob, "CutMix")})
    KRAIT_INPUT(v >= 0 && v <= 1, "the probability of ", what, " is ", v, ", not in 0 .. 1");
  KRAIT_INPUT(m.mixup >= 0 && m.cutmix >= 0, "mixup ", m.mixup, " and CutMix ", m.cutmix,
              ": alpha cannot be negative");
  const auto [low, high] = m.cutmix_minmax;
  KRAIT_INPUT(
      high == 0 ||
          (0 <= low && static_cast<int>(size * low) < static_cast<int>(size * high) && high <= 1),
      "CutMix boxes of ", low, " to ", high,
      " of the side: not two shares with at least one pixel between them");
}

}  // namespace

Crop crop_named(const std::string& name) {
  return named<Crop>("crop", name,
                     {{"none", Crop::none},
                      {"padded", Crop::padded},
                      {"resized", Crop::resized},
                      {"simple", Crop::simple},
                      {"published", Crop::published},
                      {"central", Crop::central}});
}
Pad pad_named(const std::string& name) {
  return named<Pad>("padding", name,
                    {{"mean", Pad::mean}, {"zero", Pad::zero}, {"reflect", Pad::reflect}});
}
Interpolation interpolation_named(const std::string& name) {
  return named<Interpolation>("interpolation", name,
                              {{"bilinear", Interpolation::bilinear},
                               {"bicubic", Interpolation::bicubic},
                               {"random", Interpolation::random}});
}
EraseMode erase_mode_named(const std::string& name) {
  return named<EraseMode>(
      "mode of random erasing", name,
      {{"pixel", EraseMode::pixel}, {"rand", EraseMode::rand}, {"const", EraseMode::constant}});
}
MixMode mix_mode_named(const std::string& name) {
  return named<MixMode>(
      "mode of mixing", name,
      {{"batch", MixMode::batch}, {"pair", MixMode::pair}, {"elem", MixMode::elem}});
}

void check_augment(const AugmentOptions& o) {
  auto share = [](double v, const char* what) {
    KRAIT_INPUT(v >= 0 && v <= 1, what, " is ", v, ", not in 0 .. 1");
  };
  KRAIT_INPUT(o.size > 0 && o.size <= 1024, "pictures of size ", o.size, ", not in 1 .. 1024");
  KRAIT_INPUT(o.crop_padding >= 0, "a crop padding of ", o.crop_padding);
  KRAIT_INPUT(0 < o.scale_low && o.scale_low <= o.scale_high && o.scale_high <= 1, "a crop of ",
              o.scale_low, " to ", o.scale_high, " of the area, not in 0 .. 1");
  KRAIT_INPUT(0 < o.ratio_low && o.ratio_low <= o.ratio_high && o.ratio_high < 1e6,
              "a crop of shape ", o.ratio_low, " to ", o.ratio_high);
  KRAIT_INPUT(o.crop_ratio > 0.1 && o.crop_ratio <= 1, "an evaluation crop ratio of ", o.crop_ratio,
              ", not in 0.1 .. 1");
  KRAIT_INPUT(o.crop != Crop::published || o.size + 2 * published_padding >= published_window,
              "the published crop needs pictures of 24 pixels or more, not ", o.size);
  KRAIT_INPUT(o.crop != Crop::simple || o.size > simple_padding,
              "the simple crop needs pictures of 5 pixels or more, not ", o.size);
  KRAIT_INPUT(o.color_jitter >= 0, "a colour jitter of ", o.color_jitter);
  share(o.smoothing, "label smoothing");
  share(o.erase.prob, "the probability of random erasing");
  KRAIT_INPUT(o.erase.count >= 1 && o.erase.count <= EraseRules::max_boxes, "random erasing of ",
              o.erase.count, " boxes, not 1 .. ", EraseRules::max_boxes);
  check_mixing(o.mixing, o.size);
  operation_rules(o);
}

}  // namespace krait
