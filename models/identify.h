// Which model somebody's weights are, of whatever architecture.
#pragma once

#include "models/model.h"
#include "models/shapes.h"

namespace krait {

struct ModelIdentity {
  ModelConfig config;
  std::vector<std::string> names;    // registered models with these shapes, but for the classes
  std::vector<std::string> assumed;  // what shapes cannot tell, and config only supposes
};

// Nothing if these are not the weights of a model known here; `why` then says what is wrong, if
// they look like one.
std::optional<ModelIdentity> identify_model(const Shapes& shapes, std::string& why);
// "Vision Mamba" or "VisionTransformer".
const char* architecture_of(const ModelConfig& config);

}  // namespace krait
