// Where the architectures come together.
#include "models/model.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/nearest.h"
#include "models/vim/identify.h"
#include "models/vit/identify.h"

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
  return vit() ? vit_flops(*vit()) : vim_flops(*vim());
}

void ImageModel::declare(ParamStore& store) const {
  if (vit())
    vit_weights(*vit(), store);
  else
    vim_weights(*vim(), store, init_);
}
void ImageModel::make_tables(Context& ctx, DType compute) {
  if (vim()) rope_ = rope_table(ctx, *vim(), accum(compute));
}
Tensor ImageModel::logits(Context& ctx, ParamStore& store, const Tensor& images,
                          ModelKept* kept) const {
  if (vit()) return krait::vit(ctx, *vit(), vit_weights(*vit(), store), images);
  return krait::vim(ctx, *vim(), vim_weights(*vim(), store, init_), rope_, images, kept);
}

const std::vector<NamedModel>& model_names() {
  static const std::vector<NamedModel> all = [] {
    std::vector<NamedModel> v = vim_names();
    v.insert(v.end(), vit_names().begin(), vit_names().end());
    return v;
  }();
  return all;
}
ModelConfig model_config(const std::string& name) {
  auto among = [&](const std::vector<NamedModel>& models) {
    return std::any_of(models.begin(), models.end(), [&](auto& m) { return m.name == name; });
  };
  if (among(vit_names())) return vit_config(name);
  if (among(vim_names())) return vim_config(name);
  std::vector<std::string> names;
  for (const NamedModel& m : model_names()) names.push_back(m.name);
  throw InputError(
      cat("there is no model '", name, "'. The nearest names: ", nearest(name, names)));
}
ModelConfig model_config_from_json(const std::string& json) {
  const auto j = nlohmann::json::parse(json, nullptr, false);
  if (!j.is_object() || !j.contains("architecture")) return vim_config_from_json(json);
  KRAIT_INPUT(j["architecture"] == "vit", "there is no architecture ", j["architecture"].dump());
  return vit_config_from_json(json);
}
void set_num_classes(ModelConfig& config, int classes) {
  std::visit([&](auto& c) { c.num_classes = classes; }, config);
}

}  // namespace krait
