// What a user may ask of an augmentation, and how it is called.
#include "engine/data/dataset.h"

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
  KRAIT_INPUT(o.size > 0, "pictures of size ", o.size);
  KRAIT_INPUT(o.crop_padding >= 0, "a crop padding of ", o.crop_padding);
  auto later = [](bool asked, const char* what) { KRAIT_INPUT(!asked, what, " is not there yet"); };
  later(o.crop != Crop::padded, "a crop other than padded");
  later(o.pad != Pad::mean, "padding other than with the mean");
  later(o.interpolation != Interpolation::bilinear, "interpolation other than bilinear");
  later(!o.auto_augment.empty(), "auto augmentation");
  later(o.three_augment, "3-Augment");
  later(o.color_jitter != 0, "colour jitter");
  later(o.erase.prob != 0, "random erasing");
  later(o.mix && o.mixing.mode != MixMode::batch, "mixing in mode pair or elem");
  later(o.mixing.cutmix_minmax[1] != 0, "CutMix with minmax");
}

}  // namespace krait
