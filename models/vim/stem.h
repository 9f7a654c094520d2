// The convolutional stem: a switch of our own. "Early convolutions help transformers see better"
// (Xiao et al. 2021); "Escaping the big data paradigm with compact transformers" (Hassani et al.
// 2021).
#pragma once

#include "engine/ops/ops.h"
#include "engine/params.h"
#include "models/vim/config.h"

namespace krait {

// Letters: S side of the picture, w channels of a stage, G side of the grid of tokens.
struct VimStem {
  // y = x + conv2(silu(norm2(conv1(silu(norm1(x))))))
  struct Block {
    Tensor norm1_w, norm1_b, norm2_w, norm2_b;  // (w): LayerNorm over a pixel's channels
    Tensor conv1_w, conv2_w;                    // (w, w, 3, 3)
  };
  // The first stage works on S x S pixels, each next one on half as many a side.
  struct Stage {
    Tensor conv_w;  // (w, channels before, 3, 3)
    std::vector<Block> blocks;
    Tensor norm_w, norm_b;  // (w)
  };
  std::vector<Stage> stages;
  Tensor proj_w, proj_b;  // (D, w, 3, 3), (D): from 2 G pixels a side to the tokens
};

// Declares or fetches the parameters, as vim_weights does.
VimStem stem_weights(const VimConfig& config, ParamStore& store);

// images (B, channels, S, S) T -> tokens (B, P, D) T, row by row.
Tensor conv_stem(Context& ctx, const VimConfig& config, const VimStem& stem, const Tensor& images);

}  // namespace krait
