// Names and shapes -> configuration, checked by declaring that model and comparing.
#include "models/vim/identify.h"

#include <cmath>

#include "models/shapes.h"
#include "models/vim/vim.h"

namespace krait {
namespace {

Shapes shapes_of(const VimConfig& c) {
  return krait::shapes_of([&](ParamStore& s) { vim_weights(c, s); });
}

// The square grid and the stride that give so many patches. Registered models of this patch size
// come first: 27 x 27 patches of 16 pixels are 224 pixels at a stride of 8, not 432.
void find_grid(VimConfig& c, int patches, std::vector<std::string>& assumed) {
  KRAIT_INPUT(patches > 0, "there are no patches");
  const int grid = static_cast<int>(std::lround(std::sqrt(patches)));
  KRAIT_INPUT(grid * grid == patches, patches, " patches are no square");
  c.stride = c.patch_size;
  c.img_size = grid * c.patch_size;
  for (const NamedModel& named : vim_names()) {
    const VimConfig known = vim_config(named.name);
    if (known.patch_size == c.patch_size && known.patches() == patches) {
      c.stride = known.stride;
      c.img_size = known.img_size;
      return;
    }
  }
  assumed.push_back("stride = patch_size");
}

// Patches, or a stem of convolutions: width, channels, patch size.
void find_stem(VimConfig& c, const ShapeReader& r) {
  if (!r.has("stem.proj.weight")) {
    c.embed_dim = r.size("patch_embed.proj.weight", 4, 0);
    c.channels = r.size("patch_embed.proj.weight", 4, 1);
    c.patch_size = r.size("patch_embed.proj.weight", 4, 2);
    return;
  }
  c.stem = "conv";
  c.embed_dim = r.size("stem.proj.weight", 4, 0);
  c.stem_width = r.size("stem.0.conv.weight", 4, 0);
  c.channels = r.size("stem.0.conv.weight", 4, 1);
  int stages = 1;
  while (r.has(cat("stem.", stages, ".conv.weight"))) ++stages;
  KRAIT_INPUT(stages <= 12, "the stem halves the picture ", stages, " times");
  c.patch_size = 1 << stages;
  const std::string last = cat("stem.", stages - 1, ".blocks.");
  for (c.stem_depth = 0; r.has(cat(last, c.stem_depth, ".conv1.weight"));) ++c.stem_depth;
}

VimIdentity deduce(const Shapes& shapes) {
  const ShapeReader r(shapes);
  VimIdentity id;
  VimConfig& c = id.config;
  find_stem(c, r);
  c.num_classes = r.size("head.weight", 2, 0);
  for (c.depth = 0; r.has(cat("layers.", c.depth, ".norm.weight"));) ++c.depth;
  const std::string m = "layers.0.mixer.";
  const int inner = r.size(m + "A_log", 2, 0);
  c.expand = inner / c.embed_dim;
  c.d_state = r.size(m + "A_log", 2, 1);
  const bool grid = r.has(m + "conv2d.weight");  // 3 x 3 taps rather than a row of them
  if (grid) c.mixer_conv = "2d";
  const std::string conv = m + (grid ? "conv2d" : "conv1d");
  c.d_conv = grid ? r.size(conv + ".weight", 4, 3) : r.size(conv + ".weight", 3, 2);
  c.dt_rank = r.size(m + "dt_proj.weight", 2, 1);
  c.conv_bias = r.has(conv + ".bias");
  c.bias = r.has(m + "in_proj.bias");
  c.rms_norm = !r.has("norm_f.bias");
  c.bimamba_type = r.has(conv + "_b.weight") ? "v2" : r.has(m + "A_b_log") ? "v1" : "none";
  if (r.has(m + "gamma")) c.init_layer_scale = 1;  // what it was at the start does not matter
  c.use_double_cls_token = r.has("cls_token_head");
  c.if_cls_token = c.use_double_cls_token || r.has("cls_token");
  c.if_rope = r.has("rope.freqs_cos");
  c.if_abs_pos_embed = r.has("pos_embed");
  if (c.if_abs_pos_embed)
    find_grid(c, r.size("pos_embed", 3, 1) - c.class_tokens(), id.assumed);
  else if (c.if_rope)
    find_grid(c, r.size("rope.freqs_cos", 2, 0), id.assumed);
  else
    id.assumed.push_back(cat("img_size = ", c.img_size = 14 * (c.stride = c.patch_size)));
  if (c.if_rope) {
    c.if_rope_residual = true;
    id.assumed.push_back("if_rope_residual");
  } else if (c.if_cls_token && !c.use_double_cls_token) {
    // All published models with a class token and no RoPE have it in the middle.
    c.use_middle_cls_token = c.if_divide_out = true;
    id.assumed.push_back("use_middle_cls_token, if_divide_out");
  }
  if (!c.if_cls_token) id.assumed.push_back("final_pool_type = mean");
  if (grid) {  // as all models with a name that have such convolutions
    c.scan_order = "alternate";
    id.assumed.push_back("scan_order = alternate");
  }
  check(c);
  return id;
}

}  // namespace

std::optional<VimIdentity> identify_vim(const Shapes& all, std::string& why) {
  why.clear();
  if (!all.count("layers.0.mixer.A_log")) return {};
  try {
    VimIdentity id = deduce(all);
    Shapes shapes = all;
    for (const char* table : {"rope.freqs_cos", "rope.freqs_sin"}) shapes.erase(table);
    why = difference(shapes, shapes_of(id.config));
    if (!why.empty()) return {};
    for (const NamedModel& named : vim_names()) {
      VimConfig known = vim_config(named.name);
      known.num_classes = id.config.num_classes;
      if (known.if_rope == id.config.if_rope && difference(shapes, shapes_of(known)).empty())
        id.names.push_back(named.name);
    }
    return id;
  } catch (const InputError& e) {
    why = e.what();
    return {};
  }
}

namespace {

// Of the stem, or of the patches' matrix. Convolutions have 3 x 3 taps.
double stem_flops(const VimConfig& c) {
  const double D = c.embed_dim;
  if (c.stem != "conv") return 2.0 * c.patches() * c.channels * c.patch_size * c.patch_size * D;
  double all = 0, from = c.channels, pixels = double(c.img_size) * c.img_size;
  for (int i = 0; i < c.stem_stages(); ++i) {
    const double w = c.stem_channels(i);
    if (i > 0) pixels /= 4;
    all += 2 * 9 * pixels * from * w;
    if (i + 1 == c.stem_stages()) all += c.stem_depth * 2 * (2 * 9 * pixels * w * w);
    from = w;
  }
  return all + 2.0 * 9 * c.patches() * from * D;
}

}  // namespace

double vim_flops(const VimConfig& c) {
  const double L = c.tokens(), D = c.embed_dim, E = c.inner(), N = c.d_state, R = c.rank();
  const double convolved = c.bimamba_type == "v2" ? 2 : 1;
  const double scanned = c.bimamba_type == "none" ? 1 : 2;
  const double taps = c.mixer_conv == "2d" ? 9 : c.d_conv;
  const double projections = 2 * L * D * 2 * E + 2 * L * E * D;
  const double side = 2 * L * E * (taps + (R + 2 * N) + R);
  const double layer = projections + convolved * side + scanned * 9 * L * E * N;
  const double heads = c.if_cls_token || c.final_pool_type == "mean" || c.final_pool_type == "none"
                           ? 1
                           : L;  // pooled before the head, or after
  return stem_flops(c) + c.depth * layer + heads * 2 * D * c.num_classes;
}

}  // namespace krait
