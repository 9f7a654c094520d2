// VisionTransformer, forward; the gradient follows from the ops. Letters: B images, L tokens, D
// width.
#include "models/vit/vit.h"

#include <cmath>

#include "engine/remake.h"

namespace krait {
namespace {

// What goes from block to block. The sum of both is what timm calls x: the addition is made by the
// norm that comes next.
struct Between {
  Tensor h;  // (B, L, D): what the last MLP gave; empty before the first
  Tensor r;  // (B, L, D) accum: the residual stream
};

// Of block i; `branch` 0 is the attention, 1 the MLP.
Tensor drop_path(Context& ctx, const VitConfig& c, int i, int branch, const Tensor& h) {
  const double rate = c.depth == 1 ? 0 : c.drop_path_rate * i / (c.depth - 1);
  return drop(ctx, h, rate, h.count() / h.shape(0), 2 * i + branch);
}

// Block i: x += attention(norm1(x)), x += mlp(norm2(x)).
Between block(Context& ctx, const VitConfig& c, const VitLayer& p, int i, Between s) {
  auto scope = ctx.scope(cat("blocks.", i));
  const DType type = p.qkv_w.dtype();
  auto scaled = [&](Tensor h, const Tensor& gamma) {
    return gamma ? scale_columns(ctx, h, gamma) : h;
  };
  Normed n = add_norm(ctx, Norm::layer, s.h, s.r, p.norm1_w, p.norm1_b, c.norm_eps, type);
  s = {};  // without a tape, nothing else holds it
  Tensor a = attention(ctx, linear(ctx, n.y, p.qkv_w, p.qkv_b), c.num_heads);
  a = drop_path(ctx, c, i, 0, scaled(linear(ctx, a, p.proj_w, p.proj_b), p.ls1));
  n = add_norm(ctx, Norm::layer, a, n.residual, p.norm2_w, p.norm2_b, c.norm_eps, type);
  Tensor h = gelu(ctx, linear(ctx, n.y, p.fc1_w, p.fc1_b));  // (B, L, hidden)
  h = drop_path(ctx, c, i, 1, scaled(linear(ctx, h, p.fc2_w, p.fc2_b), p.ls2));
  return {h, n.residual};
}

// (B, L, D) -> (B, D)
Tensor pool(Context& ctx, const VitConfig& c, const Tensor& x) {
  return c.global_pool == "token" ? mean_tokens(ctx, x, {0})
                                  : mean_tokens(ctx, x, {}, c.class_token ? 1 : 0);
}

}  // namespace

Tensor vit(Context& ctx, const VitConfig& c, const VitWeights& w, const Tensor& images) {
  KRAIT_CHECK(images.shape() == Shape({images.shape(0), c.channels, c.img_size, c.img_size}),
              "vit: images are ", images.shape(), ", the model takes pictures of ", c.img_size);
  std::vector<ClassToken> cls;
  if (c.class_token) cls.push_back({w.cls, 0});
  Tensor patches = patch_embed(ctx, images, w.patch_w, w.patch_b, c.patch_size);  // (B, P, D)
  Tensor tokens = place_tokens(ctx, patches, cls, w.pos);                         // (B, L, D) accum
  patches = {};  // without a tape, nothing else holds it
  tokens = drop(ctx, tokens, c.pos_drop_rate, 1, 2 * c.depth);

  Tensors s = {{}, std::move(tokens)};  // h and r of Between
  for (int i = 0; i < c.depth; ++i) {
    auto f = [c, p = w.layers[i], i](Context& ctx, Tensors s) {
      Between to = block(ctx, c, p, i, {std::move(s[0]), std::move(s[1])});
      return Tensors{to.h, to.r};
    };
    s = ctx.remake_layers ? remake(ctx, std::move(s), f) : f(ctx, std::move(s));
  }

  auto scope = ctx.scope("head");
  auto norm = [&](const Tensor& h, const Tensor& r) {
    return add_norm(ctx, Norm::layer, h, r, w.norm_w, w.norm_b, c.norm_eps, images.dtype()).y;
  };
  const Tensor y = c.norm_after_pool() ? norm({}, pool(ctx, c, add(ctx, s[0], s[1])))
                                       : pool(ctx, c, norm(s[0], s[1]));  // (B, D)
  return linear(ctx, y, w.head_w, w.head_b, true);
}

VitWeights vit_weights(const VitConfig& c, ParamStore& store) {
  const int64_t D = c.embed_dim, H = c.hidden(), p = c.patch_size;
  // Starts of timm's VisionTransformer; the cut of its normal numbers at +-2 cuts nothing.
  const Init zero{Init::constant, 0}, one{Init::constant, 1}, small{Init::normal, 0.02};
  const Init patch{Init::uniform, 1 / std::sqrt(double(c.channels * p * p))};  // PyTorch's own
  VitWeights w;
  if (c.class_token) w.cls = store.get("cls_token", {1, 1, D}, {Init::normal, 1e-6}, true);
  w.pos = store.get("pos_embed", {1, c.tokens(), D}, small, true);
  w.patch_w = store.get("patch_embed.proj.weight", {D, c.channels, p, p}, patch);
  w.patch_b = store.get("patch_embed.proj.bias", {D}, patch);
  for (int i = 0; i < c.depth; ++i) {
    const std::string at = cat("blocks.", i, ".");
    auto vector = [&](const char* name, int64_t n, Init init) {
      return store.get(at + name, {n}, init);
    };
    auto matrix = [&](const char* name, int64_t to, int64_t from) {
      return store.get(at + name, {to, from}, small);
    };
    VitLayer l;
    l.norm1_w = vector("norm1.weight", D, one);
    l.norm1_b = vector("norm1.bias", D, zero);
    l.qkv_w = matrix("attn.qkv.weight", 3 * D, D);
    if (c.qkv_bias) l.qkv_b = vector("attn.qkv.bias", 3 * D, zero);
    l.proj_w = matrix("attn.proj.weight", D, D);
    l.proj_b = vector("attn.proj.bias", D, zero);
    const Init scale{Init::constant, c.init_values.value_or(0)};
    if (c.init_values) l.ls1 = vector("ls1.gamma", D, scale);
    l.norm2_w = vector("norm2.weight", D, one);
    l.norm2_b = vector("norm2.bias", D, zero);
    l.fc1_w = matrix("mlp.fc1.weight", H, D);
    l.fc1_b = vector("mlp.fc1.bias", H, zero);
    l.fc2_w = matrix("mlp.fc2.weight", D, H);
    l.fc2_b = vector("mlp.fc2.bias", D, zero);
    if (c.init_values) l.ls2 = vector("ls2.gamma", D, scale);
    w.layers.push_back(l);
  }
  const std::string norm = c.norm_after_pool() ? "fc_norm" : "norm";
  w.norm_w = store.get(norm + ".weight", {D}, one);
  w.norm_b = store.get(norm + ".bias", {D}, zero);
  w.head_w = store.get("head.weight", {c.num_classes, D}, small);
  w.head_b = store.get("head.bias", {c.num_classes}, zero);
  return w;
}

}  // namespace krait
