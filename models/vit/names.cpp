// The registered models, and VitConfig as JSON.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/context.h"
#include "engine/nearest.h"
#include "models/vit/config.h"

namespace krait {
namespace {

struct Entry {
  const char* name;
  const char* note;
  VitConfig config;
};

VitConfig of_width(int width, int heads) {
  VitConfig c;
  c.embed_dim = width;
  c.num_heads = heads;
  return c;
}
VitConfig native(int width, int heads, int depth, int patch) {
  VitConfig c = of_width(width, heads);
  c.img_size = 32;
  c.patch_size = patch;
  c.depth = depth;
  c.num_classes = 10;
  return c;
}

const std::vector<Entry>& entries() {
  static const std::vector<Entry> list = {
      {"vit_tiny_patch4_32",
       "native CIFAR: a VisionTransformer of 64 patches, width 192, 12 layers",
       native(192, 3, 12, 4)},
      {"vit_micro_patch4_32",
       "native CIFAR for machines without a GPU: a VisionTransformer of width 64, 3 layers",
       native(64, 4, 3, 4)},
      {"vit_tiny_patch16_224", "timm's VisionTransformer", of_width(192, 3)},
      {"vit_small_patch16_224", "timm's VisionTransformer", of_width(384, 6)},
      {"vit_base_patch16_224", "timm's VisionTransformer", of_width(768, 12)},
      {"deit_tiny_patch16_224", "DeiT: vit_tiny_patch16_224 trained otherwise", of_width(192, 3)},
      {"deit_small_patch16_224", "DeiT: vit_small_patch16_224 trained otherwise", of_width(384, 6)},
      {"deit_base_patch16_224", "DeiT: vit_base_patch16_224 trained otherwise", of_width(768, 12)},
  };
  return list;
}

// One line per field: timm's argument name and the member it sets.
template <class C, class F>
void fields(C& c, F&& f) {
  f("img_size", c.img_size);
  f("patch_size", c.patch_size);
  f("in_chans", c.channels);
  f("num_classes", c.num_classes);
  f("global_pool", c.global_pool);
  f("embed_dim", c.embed_dim);
  f("depth", c.depth);
  f("num_heads", c.num_heads);
  f("mlp_ratio", c.mlp_ratio);
  f("qkv_bias", c.qkv_bias);
  f("init_values", c.init_values);
  f("class_token", c.class_token);
  f("fc_norm", c.fc_norm);
  f("norm_eps", c.norm_eps);
  f("pos_drop_rate", c.pos_drop_rate);
  f("drop_path_rate", c.drop_path_rate);
}

template <class T>
struct ValueOf {
  using Type = T;
};
template <class T>
struct ValueOf<std::optional<T>> {
  using Type = T;
};

}  // namespace

const std::vector<NamedModel>& vit_names() {
  static const std::vector<NamedModel> names = [] {
    std::vector<NamedModel> v;
    for (const Entry& e : entries()) v.push_back({e.name, e.note});
    return v;
  }();
  return names;
}

VitConfig vit_config(const std::string& name) {
  std::vector<std::string> names;
  for (const Entry& e : entries()) {
    if (name == e.name) return e.config;
    names.emplace_back(e.name);
  }
  throw InputError(
      cat("there is no model '", name, "'. The nearest names: ", nearest(name, names)));
}

void check(const VitConfig& c) {
  auto in = [](const char* what, int v, int low, int high) {
    KRAIT_INPUT(low <= v && v <= high, what, " is ", v, "; it must be ", low, " to ", high);
  };
  in("img_size", c.img_size, 1, 8192);
  in("patch_size", c.patch_size, 1, c.img_size);
  KRAIT_INPUT(c.img_size % c.patch_size == 0,
              "a VisionTransformer needs a picture of whole patches: ", c.img_size,
              " is not a multiple of ", c.patch_size);
  in("in_chans", c.channels, 1, 1000);
  in("num_classes", c.num_classes, 1, 1000000);
  in("embed_dim", c.embed_dim, 1, 16384);
  in("depth", c.depth, 1, 1000);
  in("num_heads", c.num_heads, 1, c.embed_dim);
  KRAIT_INPUT(c.embed_dim % c.num_heads == 0, "embed_dim is ", c.embed_dim, ", which num_heads, ",
              c.num_heads, ", does not divide");
  in("the width of a head", c.embed_dim / c.num_heads, 1, 256);
  KRAIT_INPUT(c.mlp_ratio > 0 && c.mlp_ratio <= 64 && c.hidden() >= 1, "mlp_ratio is ", c.mlp_ratio,
              "; it must be above 0, to 64");
  KRAIT_INPUT(c.norm_eps >= 0 && c.norm_eps <= 1, "norm_eps is ", c.norm_eps);
  KRAIT_INPUT(c.global_pool == "token" || c.global_pool == "avg", "global_pool is '", c.global_pool,
              "'; it must be token or avg");
  KRAIT_INPUT(c.class_token || c.global_pool == "avg",
              "global_pool token needs a class token: without one it must be avg");
}

std::string to_json(const VitConfig& config) {
  nlohmann::ordered_json j = {{"architecture", "vit"}};
  fields(config, [&]<class T>(const char* name, const T& value) {
    if constexpr (std::is_same_v<T, typename ValueOf<T>::Type>)
      j[name] = value;
    else if (value)
      j[name] = *value;
    else
      j[name] = nullptr;
  });
  return j.dump();
}

VitConfig vit_config_from_json(const std::string& text) {
  VitConfig c;
  try {
    const auto j = nlohmann::json::parse(text);
    std::vector<std::string> known = {"architecture"};
    fields(c, [&]<class T>(const char* name, T& value) {
      known.emplace_back(name);
      if (j.contains(name) && !j[name].is_null())
        value = j[name].template get<typename ValueOf<T>::Type>();
    });
    for (const auto& [key, value] : j.items())
      KRAIT_INPUT(std::find(known.begin(), known.end(), key) != known.end(),
                  "not a VisionTransformer known here: ", key);
  } catch (const nlohmann::json::exception& e) {
    throw InputError(cat("not a model configuration: ", e.what()));
  }
  check(c);
  return c;
}

}  // namespace krait
