// Which VisionTransformer somebody's weights are: from the names and shapes of a state dict.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "models/vit/config.h"

namespace krait {

using VitIdentity = Identity<VitConfig>;

// Nothing if these are not the weights of a VisionTransformer known here, every name and shape of
// them; `why` then says what is wrong, if they look like one.
std::optional<VitIdentity> identify_vit(const std::map<std::string, std::vector<int64_t>>& shapes,
                                        std::string& why);

// Floating-point operations for one picture, forward. A multiply-add counts as two.
double vit_flops(const VitConfig& config);

}  // namespace krait
