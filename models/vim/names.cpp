// The registered models, and VimConfig as JSON.
#include <bit>
#include <functional>
#include <nlohmann/json.hpp>

#include "engine/context.h"
#include "engine/nearest.h"
#include "models/vim/config.h"

namespace krait {
namespace {

struct Entry {
  const char* name;
  const char* note;
  std::function<void(VimConfig&)> set;
};

// A published 224-pixel model: `width` channels, patches of `patch` pixels `stride` apart.
void published(VimConfig& c, int width, int patch, int stride) {
  c.img_size = 224;
  c.patch_size = patch;
  c.stride = stride;
  c.embed_dim = width;
  c.num_classes = 1000;
}
std::function<void(VimConfig&)> rope(int width, int patch, bool cls) {
  return [=](VimConfig& c) {
    published(c, width, patch, patch);
    c.if_rope = c.if_rope_residual = true;
    c.if_cls_token = cls;
  };
}
std::function<void(VimConfig&)> middle(int width, int stride) {
  return [=](VimConfig& c) {
    published(c, width, 16, stride);
    c.if_cls_token = c.use_middle_cls_token = c.if_divide_out = true;
  };
}
std::function<void(VimConfig&)> native(int width, int depth, int patch, int states) {
  return [=](VimConfig& c) {
    c.patch_size = c.stride = patch;
    c.embed_dim = width;
    c.depth = depth;
    c.d_state = states;
    c.if_rope = c.if_rope_residual = true;
  };
}

// A native model with a convolutional stem, 3 x 3 convolutions over the grid in every layer, and
// scans along rows and columns in turn. The convolutions know where a token is: no RoPE.
std::function<void(VimConfig&)> convolutional(int width, int depth, int patch, int states,
                                              int stem_width, int stem_depth) {
  return [=](VimConfig& c) {
    native(width, depth, patch, states)(c);
    c.if_rope = c.if_rope_residual = false;
    c.stem = "conv";
    c.stem_width = stem_width;
    c.stem_depth = stem_depth;
    c.mixer_conv = "2d";
    c.d_conv = 3;
    c.scan_order = "alternate";
  };
}

const std::vector<Entry>& entries() {
  static const std::vector<Entry> list = {
      {"vim_tiny_patch4_32", "native CIFAR: 64 tokens, width 192, RoPE, mean pool",
       native(192, 24, 4, 16)},
      {"vim_tiny_patch2_32", "native CIFAR: 256 tokens, width 192, RoPE, mean pool",
       native(192, 24, 2, 16)},
      {"vim_micro_patch4_32",
       "native CIFAR for machines without a GPU: width 64, 3 layers, 4 states",
       native(64, 3, 4, 4)},
      {"vim_tiny_conv4_32",
       "native CIFAR: convolutional stem, 64 tokens, width 256, 12 layers, 3 x 3 mixer convolution",
       convolutional(256, 12, 4, 16, 64, 1)},
      {"vim_tiny_conv2_32",
       "native CIFAR: convolutional stem, 256 tokens, width 192, 12 layers, 3 x 3 mixer "
       "convolution",
       convolutional(192, 12, 2, 16, 64, 1)},
      {"vim_micro_conv4_32",
       "native CIFAR for machines without a GPU: vim_micro_patch4_32 with a convolutional stem",
       convolutional(64, 3, 4, 4, 16, 0)},
      {"vim_tiny_patch16_224_bimambav2_final_pool_mean_abs_pos_embed_rope_also_residual",
       "published (January 2024)", rope(192, 16, false)},
      {"vim_tiny_patch16_224_bimambav2_final_pool_mean_abs_pos_embed_rope_also_residual_with_cls_"
       "token",
       "published (January 2024), class token first", rope(192, 16, true)},
      {"vim_tiny_patch8_224_bimambav2_final_pool_mean_abs_pos_embed_rope_also_residual",
       "published (January 2024), 784 tokens", rope(192, 8, false)},
      {"vim_tiny_patch8_224_bimambav2_final_pool_mean_abs_pos_embed_rope_also_residual_with_cls_"
       "token",
       "published (January 2024), class token first", rope(192, 8, true)},
      {"vim_small_patch16_224_bimambav2_final_pool_mean_abs_pos_embed_rope_also_residual",
       "published (January 2024)", rope(384, 16, false)},
      {"vim_base_patch16_224_bimambav2_final_pool_mean_abs_pos_embed_rope_also_residual",
       "published (January 2024)", rope(768, 16, false)},
      {"vim_tiny_patch16_224_bimambav2_final_pool_mean_abs_pos_embed_with_midclstok_div2",
       "published: class token in the middle", middle(192, 16)},
      {"vim_tiny_patch16_stride8_224_bimambav2_final_pool_mean_abs_pos_embed_with_midclstok_div2",
       "published: overlapping patches, 730 tokens", middle(192, 8)},
      {"vim_small_patch16_224_bimambav2_final_pool_mean_abs_pos_embed_with_midclstok_div2",
       "published: class token in the middle", middle(384, 16)},
      {"vim_small_patch16_stride8_224_bimambav2_final_pool_mean_abs_pos_embed_with_midclstok_div2",
       "published: overlapping patches, 730 tokens", middle(384, 8)},
      {"vim_base_patch16_224_bimambav2_final_pool_mean_abs_pos_embed_with_middle_cls_token_div2",
       "published: class token in the middle", middle(768, 16)},
  };
  return list;
}

// One line per field: the published argument name and the member it sets.
template <class C, class F>
void fields(C& c, F&& f) {
  f("img_size", c.img_size);
  f("patch_size", c.patch_size);
  f("stride", c.stride);
  f("channels", c.channels);
  f("depth", c.depth);
  f("embed_dim", c.embed_dim);
  f("d_state", c.d_state);
  f("d_conv", c.d_conv);
  f("expand", c.expand);
  f("dt_rank", c.dt_rank);
  f("num_classes", c.num_classes);
  f("rms_norm", c.rms_norm);
  f("norm_epsilon", c.norm_epsilon);
  f("final_pool_type", c.final_pool_type);
  f("if_abs_pos_embed", c.if_abs_pos_embed);
  f("if_rope", c.if_rope);
  f("if_rope_residual", c.if_rope_residual);
  f("pt_hw_seq_len", c.pt_hw_seq_len);
  f("bimamba_type", c.bimamba_type);
  f("if_cls_token", c.if_cls_token);
  f("use_middle_cls_token", c.use_middle_cls_token);
  f("use_double_cls_token", c.use_double_cls_token);
  f("if_divide_out", c.if_divide_out);
  f("if_bidirectional", c.if_bidirectional);
  f("conv_bias", c.conv_bias);
  f("bias", c.bias);
  f("drop_rate", c.drop_rate);
  f("drop_path_rate", c.drop_path_rate);
  f("stem", c.stem);
  f("stem_width", c.stem_width);
  f("stem_depth", c.stem_depth);
  f("mixer_conv", c.mixer_conv);
  f("scan_order", c.scan_order);
}

}  // namespace

const std::vector<NamedModel>& vim_names() {
  static const std::vector<NamedModel> names = [] {
    std::vector<NamedModel> v;
    for (const Entry& e : entries()) v.push_back({e.name, e.note});
    return v;
  }();
  return names;
}

VimConfig vim_config(const std::string& name) {
  for (const Entry& e : entries())
    if (name == e.name) {
      VimConfig c;
      e.set(c);
      return c;
    }
  std::vector<std::string> names;
  for (const Entry& e : entries()) names.emplace_back(e.name);
  throw InputError(
      cat("there is no model '", name, "'. The nearest names: ", nearest(name, names)));
}

int VimConfig::stem_stages() const {
  return std::bit_width(static_cast<unsigned>(patch_size)) - 1;
}
int VimConfig::stem_channels(int stage) const {
  return static_cast<int>(std::min<int64_t>(int64_t{stem_width} << stage, embed_dim));
}

namespace {

// The switches that the published class does not have.
void check_own(const VimConfig& c) {
  auto one_of = [](const char* what, const std::string& v, const char* a, const char* b) {
    KRAIT_INPUT(v == a || v == b, what, " is '", v, "'; it must be ", a, " or ", b);
  };
  one_of("stem", c.stem, "patch", "conv");
  one_of("mixer_conv", c.mixer_conv, "causal", "2d");
  one_of("scan_order", c.scan_order, "row", "alternate");
  const VimConfig usual;
  if (c.stem == "conv") {
    KRAIT_INPUT(c.patch_size >= 2 && std::has_single_bit(static_cast<unsigned>(c.patch_size)),
                "stem conv halves the picture: patch_size must be 2, 4, 8 or another power of 2, "
                "not ",
                c.patch_size);
    KRAIT_INPUT(c.stride == c.patch_size, "stem conv needs a stride equal to the patch size, not ",
                c.stride, " for patches of ", c.patch_size);
    KRAIT_INPUT(c.img_size % c.patch_size == 0,
                "stem conv needs a picture of whole patches: ", c.img_size,
                " is not a multiple of ", c.patch_size);
    KRAIT_INPUT(1 <= c.stem_width && c.stem_width <= 4096, "stem_width is ", c.stem_width,
                "; it must be 1 to 4096");
    KRAIT_INPUT(0 <= c.stem_depth && c.stem_depth <= 100, "stem_depth is ", c.stem_depth,
                "; it must be 0 to 100");
  } else {
    KRAIT_INPUT(c.stem_width == usual.stem_width && c.stem_depth == usual.stem_depth,
                "stem_width and stem_depth are of stem conv; stem is patch");
  }
  if (c.mixer_conv == "2d") {
    KRAIT_INPUT(!c.if_cls_token, "mixer_conv 2d needs tokens that form a grid: no class token");
    KRAIT_INPUT(c.d_conv == 3, "mixer_conv 2d has 3 x 3 taps: d_conv must be 3, not ", c.d_conv);
  }
  if (c.scan_order == "alternate")
    KRAIT_INPUT(!c.if_cls_token,
                "scan_order alternate needs tokens that form a grid: no class token");
}

}  // namespace

void check(const VimConfig& c) {
  auto in = [](const char* what, int v, int low, int high) {
    KRAIT_INPUT(low <= v && v <= high, what, " is ", v, "; it must be ", low, " to ", high);
  };
  in("img_size", c.img_size, 1, 8192);
  in("patch_size", c.patch_size, 1, c.img_size);
  in("stride", c.stride, 1, c.img_size);
  in("depth", c.depth, 1, 1000);
  in("embed_dim", c.embed_dim, 1, 16384);
  in("d_state", c.d_state, 1, 64);
  in("d_conv", c.d_conv, 2, 8);
  in("expand", c.expand, 1, 16);
  in("dt_rank", c.rank(), 1, 16384);
  in("num_classes", c.num_classes, 1, 1000000);
  check_own(c);
  const auto& pool = c.final_pool_type;
  KRAIT_INPUT(pool == "none" || pool == "mean" || pool == "max" || pool == "all",
              "final_pool_type is '", pool, "'; it must be none, mean, max or all");
  const auto& type = c.bimamba_type;
  KRAIT_INPUT(type == "none" || type == "v1" || type == "v2", "bimamba_type is '", type,
              "'; it must be none, v1 or v2");
  KRAIT_INPUT(!c.if_bidirectional || c.depth % 2 == 0,
              "if_bidirectional pairs the layers; depth is ", c.depth, ", an odd number");
  if (c.if_rope) {
    const int side = c.img_size / c.patch_size;
    KRAIT_INPUT(c.embed_dim % 4 == 0, "RoPE needs a width (embed_dim) divisible by 4, not ",
                c.embed_dim);
    KRAIT_INPUT(c.patches() == side * side, "RoPE needs a stride equal to the patch size, not ",
                c.stride, " for patches of ", c.patch_size);
    KRAIT_INPUT(!(c.if_cls_token && c.use_double_cls_token),
                "RoPE works with at most one class token, as in the published code");
    // The published code takes an odd length for a sign of a class token in front.
    KRAIT_INPUT((c.tokens() % 2 == 1) == c.if_cls_token,
                "RoPE needs an even number of patches, not ", c.patches(),
                ": the published code takes an odd length for a class token in front");
  }
}

std::string to_json(const VimConfig& config) {
  nlohmann::ordered_json j;
  fields(config, [&](const char* name, const auto& value) { j[name] = value; });
  j["init_layer_scale"] = nullptr;
  if (config.init_layer_scale) j["init_layer_scale"] = *config.init_layer_scale;
  return j.dump();
}

VimConfig vim_config_from_json(const std::string& text) {
  VimConfig c;
  try {
    const auto j = nlohmann::json::parse(text);
    fields(c, [&](const char* name, auto& value) {
      if (j.contains(name) && !j[name].is_null())
        value = j[name].get<std::decay_t<decltype(value)>>();
    });
    if (!j.contains("stride") || j["stride"].is_null()) c.stride = c.patch_size;
    if (j.contains("init_layer_scale") && !j["init_layer_scale"].is_null())
      c.init_layer_scale = j["init_layer_scale"].get<double>();
  } catch (const nlohmann::json::exception& e) {
    throw InputError(cat("not a model configuration: ", e.what()));
  }
  check(c);
  return c;
}

}  // namespace krait
