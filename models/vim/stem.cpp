// The convolutional stem. Pictures are channels last here; every convolution has 3 x 3 taps and a
// border of zeros, so a stride of 2 halves an even side.
#include "models/vim/stem.h"

#include <cmath>

namespace krait {
namespace {

// silu(norm(h + r)), in h's type, and the sum. h (B, S, S, w) T, r accum or empty
Normed activate(Context& ctx, const Tensor& h, const Tensor& r, const Tensor& w, const Tensor& b,
                double eps) {
  Normed n = add_norm(ctx, Norm::layer, h, r, w, b, eps, h.dtype());
  n.y = silu(ctx, n.y);
  return n;
}

}  // namespace

Tensor conv_stem(Context& ctx, const VimConfig& c, const VimStem& stem, const Tensor& images) {
  auto scope = ctx.scope("stem");
  const int64_t B = images.shape(0), C = c.channels, S = c.img_size;
  // (B, C, S, S) -> (B, S, S, C)
  Tensor x = transpose(ctx, images.viewed({B, C, S * S, 1})).viewed({B, S, S, C});
  for (const VimStem::Stage& s : stem.stages) {
    Tensor h = conv2d(ctx, x, s.conv_w, {}, &s == &stem.stages[0] ? 1 : 2, 1);
    Tensor r;  // accum: what the blocks have added up
    for (const VimStem::Block& b : s.blocks) {
      Normed n = activate(ctx, h, r, b.norm1_w, b.norm1_b, c.norm_epsilon);
      r = n.residual;
      h = conv2d(ctx, n.y, b.conv1_w, {}, 1, 1);
      h = activate(ctx, h, {}, b.norm2_w, b.norm2_b, c.norm_epsilon).y;
      h = conv2d(ctx, h, b.conv2_w, {}, 1, 1);
    }
    x = activate(ctx, h, r, s.norm_w, s.norm_b, c.norm_epsilon).y;
  }
  return conv2d(ctx, x, stem.proj_w, stem.proj_b, 2, 1).viewed({B, c.patches(), c.embed_dim});
}

VimStem stem_weights(const VimConfig& c, ParamStore& store) {
  const Init zero{Init::constant, 0}, one{Init::constant, 1};
  auto conv = [&](const std::string& name, int64_t from, int64_t to) {  // He et al. 2015
    return store.get(name, {to, from, 3, 3}, {Init::normal, std::sqrt(2.0 / (9.0 * double(from)))});
  };
  VimStem stem;
  int64_t from = c.channels;
  for (int i = 0; i < c.stem_stages(); ++i) {
    const std::string stage = cat("stem.", i, ".");
    const int64_t w = c.stem_channels(i);
    VimStem::Stage s;
    s.conv_w = conv(stage + "conv.weight", from, w);
    for (int j = 0; j < c.stem_depth && i + 1 == c.stem_stages(); ++j) {
      const std::string block = cat(stage, "blocks.", j, ".");
      VimStem::Block b;
      b.norm1_w = store.get(block + "norm1.weight", {w}, one);
      b.norm1_b = store.get(block + "norm1.bias", {w}, zero);
      b.conv1_w = conv(block + "conv1.weight", w, w);
      b.norm2_w = store.get(block + "norm2.weight", {w}, one);
      b.norm2_b = store.get(block + "norm2.bias", {w}, zero);
      b.conv2_w = conv(block + "conv2.weight", w, w);
      s.blocks.push_back(b);
    }
    s.norm_w = store.get(stage + "norm.weight", {w}, one);
    s.norm_b = store.get(stage + "norm.bias", {w}, zero);
    stem.stages.push_back(s);
    from = w;
  }
  stem.proj_w = conv("stem.proj.weight", from, c.embed_dim);
  stem.proj_b = store.get("stem.proj.bias", {c.embed_dim}, zero);
  return stem;
}

}  // namespace krait
