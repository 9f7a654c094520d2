// Pictures of one batch out of the data set, augmented: bytes in, bytes out.
//   pictures[i] = operations(mirror(scale(window(scale(source[order[first + place(i)]])))))
// What is done to picture i is drawn from (seed, step, place(i)), its place in the whole batch.
// Each step is what Pillow does, to the last bit, and is written once (team.h): CPU and GPU give
// the same bytes.
#pragma once

#include "kernels/augment/choices.h"
#include "kernels/common/kernel.h"
#include "kernels/common/step_state.h"

namespace krait {

// Where the picture comes from in its source.
struct CropRules {
  Crop crop;
  int padding;  // padded
  Pad pad;
  double scale_low, scale_high, ratio_low, ratio_high;  // resized
  double crop_ratio;                                    // central
  Interpolation interpolation;
  bool flip;
};

// An operation and how its argument follows from a level in 0 .. 10: timm's LEVEL_TO_ARG.
// policy.h has the formulas.
enum class Rule : uint8_t {
  auto_contrast,
  equalize,
  invert,
  rotate,
  posterize,             // keeps more bits as the level rises
  posterize_increasing,  // keeps fewer bits as the level rises
  posterize_original,
  posterize_cubuk,  // of the CIFAR-10 policy, also solarize_cubuk
  solarize,         // a higher threshold as the level rises, and so less of it
  solarize_increasing,
  solarize_cubuk,
  solarize_add,
  color,             // factor 0.1 .. 1.9
  color_increasing,  // factor 1 -+ 0.9, further from 1 as the level rises
  contrast,
  contrast_increasing,
  brightness,
  brightness_increasing,
  sharpness,
  sharpness_increasing,
  shear_x,
  shear_y,
  translate_x,  // by a share of the picture's side
  translate_y,
};

// RandAugment: `layers` operations, each one of `choice`. AutoAugment: one row of `policy`.
struct OperationRules {
  struct Step {
    Rule rule;
    float probability, level;
  };
  int32_t layers, choices, policies;  // layers = policies = 0: nothing
  Rule choice[16];
  Step policy[25][2];
  double probability;              // RandAugment: of each layer
  double level, deviation, limit;  // N(level, deviation) clipped to 0 .. limit; deviation may be
                                   // infinite: uniform in 0 .. level. AutoAugment: last two only
  double translate;                // translations at level 10, as a share of the side
  bool three_augment;
  double color_jitter;
};

struct AugmentPictures {
  static constexpr const char* name = "augment_pictures";
  static constexpr int max_channels = 3, max_operations = 8;
  int64_t B;
  int channels, H, W, S;  // sources are H x W, pictures S x S
  bool train;             // off: only scaling, and the crop `central`
  CropRules crop;
  OperationRules operations;
  uint8_t fill[max_channels];  // outside the picture: round(255 mean)
  const uint8_t* source;       // (N, channels, H, W)
  const int32_t* order;        // (N). Null: picture i is source i
  const StepState* state;
  uint8_t* pictures;  // (B, channels, S, S)
};

template <>
std::span<const Variant<AugmentPictures>> variants<AugmentPictures>();

void augment_pictures_reference(const AugmentPictures&, const Launch&);
void augment_pictures_openmp(const AugmentPictures&, const Launch&);
#if KRAIT_CUDA
void augment_pictures_block_per_picture(const AugmentPictures&, const Launch&);
size_t augment_pictures_scratch(const AugmentPictures&);
#endif

}  // namespace krait
