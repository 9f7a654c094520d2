// Names of augmentation policies, in timm's spelling, and what they stand for.
#pragma once

#include "engine/data/dataset.h"
#include "kernels/augment/pictures.h"

namespace krait {

// What AugmentOptions' auto_augment, three_augment and color_jitter ask for. InputError with the
// part of the name that is not known, or not there and why.
OperationRules operation_rules(const AugmentOptions& options);
CropRules crop_rules(const AugmentOptions& options);
// What is put where a picture has no pixels: its data set's mean, of channel c.
uint8_t mean_colour(const AugmentOptions& options, int c);

}  // namespace krait
