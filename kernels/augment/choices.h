// The choices an augmentation is made of, by name; pictures.h and augment.h say what they do.
#pragma once

#include <cstdint>

namespace krait {

enum class Crop : int32_t {
  none,       // the whole picture, scaled to size x size
  padded,     // a window of the picture with pixels around it, then scaled
  resized,    // a random part of the area, of a random shape, scaled: RandomResizedCrop
  simple,     // scaled, then a window of it with 4 reflected pixels around it: 3-Augment's --src
  published,  // scaled, a 32 x 32 window of it with 4 black pixels around, scaled again
  central,    // scaled to int(size / crop_ratio), then the middle: for evaluation
};
enum class Pad : int32_t { mean, zero, reflect };
enum class Interpolation : int32_t { bilinear, bicubic, random };
enum class EraseMode : int32_t { pixel, rand, constant };
enum class MixMode : int32_t { batch, pair, elem };

}  // namespace krait
