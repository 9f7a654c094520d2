// The rules of mixing, as the kernels take them.
#pragma once

#include "engine/data/dataset.h"
#include "kernels/augment/mixing.h"

namespace krait {

MixRules mix_rules(const MixOptions& options);

}  // namespace krait
