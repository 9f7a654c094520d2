// Names and shapes -> configuration, checked by declaring that model and comparing.
#include "models/vit/identify.h"

#include <cmath>

#include "models/shapes.h"
#include "models/vit/vit.h"

namespace krait {
namespace {

Shapes shapes_of(const VitConfig& c) {
  return krait::shapes_of([&](ParamStore& s) { vit_weights(c, s); });
}

VitIdentity deduce(const Shapes& shapes) {
  const ShapeReader r(shapes);
  VitIdentity id;
  VitConfig& c = id.config;
  KRAIT_INPUT(!r.has("dist_token"), "it has a distillation token, which is not known here");
  c.embed_dim = r.size("patch_embed.proj.weight", 4, 0);
  c.channels = r.size("patch_embed.proj.weight", 4, 1);
  c.patch_size = r.size("patch_embed.proj.weight", 4, 2);
  c.num_classes = r.size("head.weight", 2, 0);
  for (c.depth = 0; r.has(cat("blocks.", c.depth, ".attn.qkv.weight"));) ++c.depth;
  c.mlp_ratio = static_cast<double>(r.size("blocks.0.mlp.fc1.weight", 2, 0)) / c.embed_dim;
  c.qkv_bias = r.has("blocks.0.attn.qkv.bias");
  if (r.has("blocks.0.ls1.gamma")) c.init_values = 1;  // what it was at the start does not matter
  c.class_token = r.has("cls_token");
  c.fc_norm = r.has("fc_norm.weight");
  c.global_pool = *c.fc_norm || !c.class_token ? "avg" : "token";
  const int patches = r.size("pos_embed", 3, 1) - (c.class_token ? 1 : 0);
  const int grid = static_cast<int>(std::lround(std::sqrt(patches)));
  KRAIT_INPUT(grid * grid == patches, patches, " patches are no square");
  c.img_size = grid * c.patch_size;
  c.num_heads = c.embed_dim % 64 == 0 ? c.embed_dim / 64 : 1;
  id.assumed.push_back(cat("num_heads = ", c.num_heads));
  if (c.class_token) id.assumed.push_back("global_pool = " + c.global_pool);
  check(c);
  return id;
}

}  // namespace

std::optional<VitIdentity> identify_vit(const Shapes& shapes, std::string& why) {
  why.clear();
  if (!shapes.count("blocks.0.attn.qkv.weight")) return {};
  try {
    VitIdentity id = deduce(shapes);
    why = difference(shapes, shapes_of(id.config));
    if (!why.empty()) return {};
    for (const NamedModel& named : vit_names()) {
      VitConfig known = vit_config(named.name);
      known.num_classes = id.config.num_classes;
      if (!difference(shapes, shapes_of(known)).empty()) continue;
      if (id.names.empty()) id.config.num_heads = known.num_heads;
      id.names.push_back(named.name);
    }
    if (!id.names.empty()) id.assumed[0] = cat("num_heads = ", id.config.num_heads);
    return id;
  } catch (const InputError& e) {
    why = e.what();
    return {};
  }
}

double vit_flops(const VitConfig& c) {
  const double L = c.tokens(), D = c.embed_dim;
  const double patches = 2.0 * c.patches() * c.channels * c.patch_size * c.patch_size * D;
  const double layer = 2 * L * D * 4 * D + 2 * 2 * L * L * D + 2 * 2 * L * D * c.hidden();
  return patches + c.depth * layer + 2 * D * c.num_classes;
}

}  // namespace krait
