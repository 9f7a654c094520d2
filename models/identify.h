// Which model somebody's weights are, of whatever architecture.
#pragma once

#include "engine/checkpoint.h"
#include "models/model.h"
#include "models/shapes.h"

namespace krait {

using ModelIdentity = Identity<ModelConfig>;

// Nothing if these are not the weights of a model known here; `why` then says what is wrong, if
// they look like one.
std::optional<ModelIdentity> identify_model(const Shapes& shapes, std::string& why);
// Of the weights in a file, without their average and what belongs to an optimiser.
Shapes weight_shapes(const Checkpoint& from);

struct CheckpointModel {
  ModelConfig config;
  std::string name;  // a registered one, or the architecture
};
// The model that the checkpoint says it is of, else the one that its weights' shapes tell.
// InputError starting with its path: its configuration cannot be, or nobody knows such weights.
CheckpointModel model_of(const Checkpoint& from);
// "Vision Mamba" or "VisionTransformer".
const char* architecture_of(const ModelConfig& config);

}  // namespace krait
