// Cuts pictures into patches of p x p pixels, `stride` apart, and maps each to D numbers: a
// convolution without padding whose result is laid out as tokens.
//   y[b, P, d] = bias[d] + sum_{c, i, j} w[d, c, i, j] images[b, c, stride py + i, stride px + j],
//   P = py PW + px;  PH = (H - p) / stride + 1, PW likewise
//   dw = sum_{b, P} dy patch,  db = sum_{b, P} dy,  dimages[pixel] = sum over the patches on it of
//   sum_d dy[b, P, d] w[d, its place in the patch]
#pragma once

#include "kernels/common/kernel.h"

namespace krait {

struct PatchGrid {
  int64_t C, H, W;
  int64_t p;       // pixels along a patch
  int64_t stride;  // pixels from one patch to the next
  KRAIT_HD int64_t high() const { return (H - p) / stride + 1; }
  KRAIT_HD int64_t wide() const { return (W - p) / stride + 1; }
  KRAIT_HD int64_t patches() const { return high() * wide(); }  // P
  KRAIT_HD int64_t numbers() const { return C * p * p; }        // in a patch
};

struct PatchEmbedFwd {
  static constexpr const char* name = "patch_embed_fwd";
  DType dtype;  // of images, w and y
  int64_t B;
  int64_t D;
  PatchGrid grid;
  bool allow_tf32;     // f32 on the GPU may round its operands to TF32
  const void* images;  // (B, C, H, W)
  const void* w;       // (D, C, p, p)
  const void* b;       // (D), accum(dtype), or null
  void* y;             // (B, P, D)
};

struct PatchEmbedBwd {
  static constexpr const char* name = "patch_embed_bwd";
  DType dtype;  // of images, w, dy and dimages
  int64_t B;
  int64_t D;
  PatchGrid grid;
  bool allow_tf32;
  bool accumulate_dimages;  // dimages += rather than dimages =
  const void* images;       // (B, C, H, W)
  const void* w;            // (D, C, p, p)
  const void* dy;           // (B, P, D)
  void* dimages;            // (B, C, H, W) or null
  void* dw;                 // (D, C, p, p), accum(dtype), or null; always added to
  void* db;                 // (D), accum(dtype), or null; always added to
};

template <>
std::span<const Variant<PatchEmbedFwd>> variants<PatchEmbedFwd>();
template <>
std::span<const Variant<PatchEmbedBwd>> variants<PatchEmbedBwd>();

}  // namespace krait
