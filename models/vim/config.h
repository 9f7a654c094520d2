// What a Vision Mamba is: every switch of the published class, under its published name.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/names.h"

namespace krait {

// Defaults are those of a small native CIFAR model; named models set what they need (names.cpp).
struct VimConfig {
  int img_size = 32, patch_size = 4, stride = 4, channels = 3;
  int depth = 24, embed_dim = 192, d_state = 16, d_conv = 4, expand = 2;
  int dt_rank = 0;  // 0: ceil(embed_dim / 16)
  int num_classes = 10;
  bool rms_norm = true;
  double norm_epsilon = 1e-5;
  std::string final_pool_type = "mean";  // none (last token), mean, max, all
  bool if_abs_pos_embed = true, if_rope = false, if_rope_residual = false;
  int pt_hw_seq_len = 14;
  std::string bimamba_type = "v2";  // none, v1, v2
  bool if_cls_token = false, use_middle_cls_token = false, use_double_cls_token = false;
  bool if_divide_out = false;
  std::optional<double> init_layer_scale;
  bool if_bidirectional = false;  // layers in pairs, the second of each on the reversed sequence
  bool conv_bias = true, bias = false;
  double drop_rate = 0, drop_path_rate = 0;
  // Not in the published class (README.md, "Switches of our own"); off by default.
  std::string stem = "patch";         // conv: 3 x 3 convolutions instead of one matrix per patch
  int stem_width = 64;                // channels at full resolution; doubled with each halving
  int stem_depth = 0;                 // residual blocks before the last halving
  std::string mixer_conv = "causal";  // 2d: 3 x 3 over the grid of tokens
  std::string scan_order = "row";     // alternate: every second layer scans column by column

  int inner() const { return expand * embed_dim; }
  int rank() const { return dt_rank ? dt_rank : (embed_dim + 15) / 16; }
  int grid() const { return (img_size - patch_size) / stride + 1; }
  int patches() const { return grid() * grid(); }
  int stem_channels(int stage) const;  // after that many halvings
  int stem_stages() const;             // halvings: log2(patch_size)
  int class_tokens() const { return !if_cls_token ? 0 : use_double_cls_token ? 2 : 1; }
  int tokens() const { return patches() + class_tokens(); }
};

// InputError naming the option if the switches do not fit together.
void check(const VimConfig& config);

// A registered model; InputError with the nearest names if there is none.
VimConfig vim_config(const std::string& name);
const std::vector<NamedModel>& vim_names();
// The published constructor's argument names -> values, as JSON text, and back.
std::string to_json(const VimConfig& config);
VimConfig vim_config_from_json(const std::string& json);

}  // namespace krait
