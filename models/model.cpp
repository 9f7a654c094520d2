// Where the architectures come together.
#include "models/model.h"

#include "models/vim/identify.h"

namespace krait {

ImageModel::ImageModel(ModelConfig config, MixerInit init)
    : config_(std::move(config)), init_(init) {
  std::visit([](const auto& c) { check(c); }, config_);
}

std::string ImageModel::to_json() const {
  return std::visit([](const auto& c) { return krait::to_json(c); }, config_);
}
int ImageModel::img_size() const {
  return std::visit([](const auto& c) { return c.img_size; }, config_);
}
int ImageModel::channels() const {
  return std::visit([](const auto& c) { return c.channels; }, config_);
}
int ImageModel::num_classes() const {
  return std::visit([](const auto& c) { return c.num_classes; }, config_);
}
int ImageModel::tokens() const {
  return std::visit([](const auto& c) { return c.tokens(); }, config_);
}
double ImageModel::flops() const {
  return vim_flops(*vim());
}

void ImageModel::declare(ParamStore& store) const {
  vim_weights(*vim(), store, init_);
}
void ImageModel::make_tables(Context& ctx, DType compute) {
  rope_ = rope_table(ctx, *vim(), accum(compute));
}
Tensor ImageModel::logits(Context& ctx, ParamStore& store, const Tensor& images) const {
  return krait::vim(ctx, *vim(), vim_weights(*vim(), store, init_), rope_, images);
}

const std::vector<NamedModel>& model_names() {
  return vim_names();
}
ModelConfig model_config(const std::string& name) {
  return vim_config(name);
}
ModelConfig model_config_from_json(const std::string& json) {
  return vim_config_from_json(json);
}
void set_num_classes(ModelConfig& config, int classes) {
  std::visit([&](auto& c) { c.num_classes = classes; }, config);
}

}  // namespace krait
