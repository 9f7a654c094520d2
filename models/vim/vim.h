// Vision Mamba (Zhu et al., "Vision Mamba", ICML 2024): weights and forward pass.
#pragma once

#include "engine/ops/ops.h"
#include "engine/params.h"
#include "models/vim/config.h"
#include "models/vim/stem.h"

namespace krait {

enum class MixerInit : uint8_t {
  repaired,   // the reverse side's dt bias is drawn like the forward side's
  published,  // it starts at zero, as the published code leaves it
  seed,       // as the published CIFAR project: every linear layer N(0, 0.02^2), every dt bias zero
};

struct VimLayer {
  Tensor norm_w, norm_b;      // (D)
  Tensor in_proj, in_bias;    // (2E, D), (2E)
  Tensor out_proj, out_bias;  // (D, E), (D)
  Tensor gamma;               // (D): layer scale
  struct Side {
    Tensor conv_w, conv_b;  // (E, 1, K), (E); mixer_conv 2d: (E, 1, 3, 3)
    Tensor x_proj;          // (R + 2N, E)
    Tensor dt_w, dt_b;      // (E, R), (E)
    Tensor A_log, D;        // (E, N), (E)
  } side[2];                // 1 is the reverse one; for v1 it has only A_log
};

struct VimWeights {
  Tensor patch_w, patch_b;              // (D, C, p, p), (D)
  VimStem stem;                         // or this
  Tensor cls, cls_head, cls_tail, pos;  // (1, 1, D), (1, L, D)
  std::vector<VimLayer> layers;
  Tensor norm_w, norm_b;  // (D)
  Tensor head_w, head_b;  // (classes, D), (classes)
};

// Declares every parameter (name, shape, start), or fetches them once the store is allocated. Call
// it again in each step: the tensors then carry their places on the step's tape.
VimWeights vim_weights(const VimConfig& config, ParamStore& store,
                       MixerInit init = MixerInit::repaired);

// The rotation tables of RoPE: (P, D) each, accum of the compute type. Persistent.
struct RopeTable {
  Tensor cos, sin;
};
RopeTable rope_table(Context& ctx, const VimConfig& config, DType accum_dtype);

// Intermediate results somebody asked for (tests, parity).
struct VimKept {
  Tensor tokens;    // (B, L, D) after the position embedding
  Tensor features;  // (B, L, D) after the final norm
};

// images (B, channels, img_size, img_size) T -> logits (B, classes) accum; with final_pool_type
// "all" (B, L, classes).
Tensor vim(Context& ctx, const VimConfig& config, const VimWeights& weights, const RopeTable& rope,
           const Tensor& images, VimKept* kept = nullptr);

}  // namespace krait
