// Asks one architecture after the other.
#include "models/identify.h"

#include "models/vim/identify.h"
#include "models/vit/identify.h"

namespace krait {

std::optional<ModelIdentity> identify_model(const Shapes& shapes, std::string& why) {
  if (const auto id = identify_vim(shapes, why)) return {{id->config, id->names, id->assumed}};
  if (!why.empty()) {
    why = "nearly a Vision Mamba, but " + why;
    return {};
  }
  if (const auto id = identify_vit(shapes, why)) return {{id->config, id->names, id->assumed}};
  if (!why.empty()) why = "nearly timm's VisionTransformer, but " + why;
  return {};
}

Shapes weight_shapes(const Checkpoint& from) {
  Shapes shapes;
  for (const auto& [name, t] : from.content.tensors)
    if (!name.starts_with("ema.") && !name.starts_with("optimizer.")) shapes[name] = t.shape;
  return shapes;
}

CheckpointModel model_of(const Checkpoint& from) {
  if (from.state) {
    try {
      return {model_config_from_json(from.state->config), from.state->model};
    } catch (const InputError& e) {
      throw InputError(cat(from.path, ": ", e.what()));
    }
  }
  std::string why;
  const auto id = identify_model(weight_shapes(from), why);
  KRAIT_INPUT(id, from.path, ": are not the weights of a model known here", why.empty() ? "" : ": ",
              why);
  return {id->config, id->names.empty() ? architecture_of(id->config) : id->names[0]};
}

const char* architecture_of(const ModelConfig& config) {
  return std::holds_alternative<VimConfig>(config) ? "Vision Mamba" : "VisionTransformer";
}

}  // namespace krait
