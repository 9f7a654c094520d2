// What a VisionTransformer is: the switches of timm's class of that name that are known here.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/names.h"

namespace krait {

// Defaults are timm's: vit_base_patch16_224.
struct VitConfig {
  int img_size = 224, patch_size = 16, channels = 3, num_classes = 1000;
  int embed_dim = 768, depth = 12, num_heads = 12;
  double mlp_ratio = 4;
  bool qkv_bias = true;
  std::optional<double> init_values;  // layer scale
  std::string global_pool = "token";  // or avg, over the patches alone
  bool class_token = true;
  std::optional<bool> fc_norm;  // normalise after pooling, not before; none: with avg only
  double norm_eps = 1e-6;
  double pos_drop_rate = 0, drop_path_rate = 0;

  int grid() const { return img_size / patch_size; }
  int patches() const { return grid() * grid(); }
  int tokens() const { return patches() + (class_token ? 1 : 0); }
  int hidden() const { return static_cast<int>(mlp_ratio * embed_dim); }
  bool norm_after_pool() const { return fc_norm.value_or(global_pool == "avg"); }
};

// InputError naming the option if the switches do not fit together.
void check(const VitConfig& config);

// A registered model; InputError with the nearest names if there is none.
VitConfig vit_config(const std::string& name);
const std::vector<NamedModel>& vit_names();
// timm's argument names -> values, as JSON text with "architecture": "vit", and back. InputError
// for an argument that is not known here.
std::string to_json(const VitConfig& config);
VitConfig vit_config_from_json(const std::string& json);

}  // namespace krait
