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

const char* architecture_of(const ModelConfig& config) {
  return std::holds_alternative<VimConfig>(config) ? "Vision Mamba" : "VisionTransformer";
}

}  // namespace krait
