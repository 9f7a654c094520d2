// A model as programs use it, whatever its architecture: pictures in, logits out. Each architecture
// is a folder beside this file; here they come together.
#pragma once

#include <variant>

#include "models/vim/vim.h"
#include "models/vit/vit.h"

namespace krait {

using ModelConfig = std::variant<VimConfig, VitConfig>;

using ModelKept = VimKept;  // what a VisionTransformer has none of stays empty

class ImageModel {
 public:
  ImageModel() = default;
  // InputError naming the switch if those of the configuration do not fit together. `init` is for a
  // Vision Mamba.
  explicit ImageModel(ModelConfig config, MixerInit init = MixerInit::repaired);

  const ModelConfig& config() const { return config_; }
  std::string to_json() const;
  // Null if it is of another architecture.
  const VimConfig* vim() const { return std::get_if<VimConfig>(&config_); }
  const VitConfig* vit() const { return std::get_if<VitConfig>(&config_); }

  int img_size() const;  // the side of a picture
  int channels() const;
  int num_classes() const;
  int tokens() const;
  double flops() const;  // for one picture, forward; a multiply-add counts as two

  // What a ParamStore is made with: every parameter's name, shape and start.
  void declare(ParamStore& store) const;
  // Tables that are no parameters, in persistent memory; `compute` is the type of activations. Once
  // before the first logits().
  void make_tables(Context& ctx, DType compute);
  // images (B, channels, img_size, img_size) of the compute type -> (B, classes) accum.
  Tensor logits(Context& ctx, ParamStore& store, const Tensor& images,
                ModelKept* kept = nullptr) const;

 private:
  ModelConfig config_;
  MixerInit init_ = MixerInit::repaired;
  RopeTable rope_;  // of a Vision Mamba
};

const std::vector<NamedModel>& model_names();
// A registered model; InputError with the nearest names if there is none.
ModelConfig model_config(const std::string& name);
// What ImageModel::to_json gave, or the published constructor's arguments: a Vision Mamba's unless
// they say "architecture": "vit".
ModelConfig model_config_from_json(const std::string& json);
void set_num_classes(ModelConfig& config, int classes);

}  // namespace krait
