// Which model somebody's weights are, of whatever architecture.
#pragma once

#include "models/model.h"
#include "models/shapes.h"

namespace krait {

using ModelIdentity = Identity<ModelConfig>;

// Nothing if these are not the weights of a model known here; `why` then says what is wrong, if
// they look like one.
std::optional<ModelIdentity> identify_model(const Shapes& shapes, std::string& why);
// "Vision Mamba" or "VisionTransformer".
const char* architecture_of(const ModelConfig& config);

}  // namespace krait
