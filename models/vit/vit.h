// VisionTransformer (Dosovitskiy et al. 2021) as timm has it, which is DeiT too (Touvron et al.
// 2021): weights and forward pass.
#pragma once

#include "engine/ops/ops.h"
#include "engine/params.h"
#include "models/vit/config.h"

namespace krait {

struct VitLayer {
  Tensor norm1_w, norm1_b;            // (D)
  Tensor qkv_w, qkv_b;                // (3D, D), (3D)
  Tensor proj_w, proj_b;              // (D, D), (D)
  Tensor norm2_w, norm2_b;            // (D)
  Tensor fc1_w, fc1_b, fc2_w, fc2_b;  // (hidden, D), (hidden), (D, hidden), (D)
  Tensor ls1, ls2;                    // (D): layer scale
};

struct VitWeights {
  Tensor cls, pos;          // (1, 1, D), (1, L, D)
  Tensor patch_w, patch_b;  // (D, C, p, p), (D)
  std::vector<VitLayer> layers;
  Tensor norm_w, norm_b;  // (D): timm's norm, or fc_norm
  Tensor head_w, head_b;  // (classes, D), (classes)
};

// Declares every parameter (name, shape, start), or fetches them once the store is allocated. Call
// it again in each step: the tensors then carry their places on the step's tape.
VitWeights vit_weights(const VitConfig& config, ParamStore& store);

// images (B, channels, img_size, img_size) T -> logits (B, classes) accum.
Tensor vit(Context& ctx, const VitConfig& config, const VitWeights& weights, const Tensor& images);

}  // namespace krait
