// Depthwise 3 x 3 convolution over a grid of tokens, with bias and SiLU: each channel by itself.
//   q[y, x] = b + sum_{i, j < 3} w[i, j] x[y + i - 1, x + j - 1]  (zero outside),  out = silu(q)
//   backward: dq = dout silu'(q),  dx[y, x] = sum_{i, j} w[i, j] dq[y + 1 - i, x + 1 - j],
//   dw[i, j] = sum_{y, x} dq[y, x] x[y + i - 1, x + j - 1],  db = sum dq
#pragma once

#include "kernels/common/kernel.h"

namespace krait {

struct DepthwiseConv2dFwd {
  static constexpr const char* name = "depthwise_conv2d_fwd";
  DType dtype;    // of x and y; w and b are accum(dtype)
  int64_t B;      // images
  int64_t H, W;   // of the grid; tokens lie row by row
  int64_t E;      // channels
  bool silu;      // else y = q
  int64_t x_row;  // elements from one token of x to the next, at least E
  const void* x;  // (B, H W, E)
  const void* w;  // (E, 3, 3)
  const void* b;  // (E) or null
  void* y;        // (B, H W, E)
};

struct DepthwiseConv2dBwd {
  static constexpr const char* name = "depthwise_conv2d_bwd";
  DType dtype;  // of x, dy and dx; the rest is accum(dtype)
  int64_t B;
  int64_t H, W;
  int64_t E;
  bool silu;
  bool accumulate_dx;  // dx += rather than dx =
  int64_t x_row;
  int64_t dx_row;
  const void* x;   // (B, H W, E)
  const void* w;   // (E, 3, 3)
  const void* b;   // (E) or null
  const void* dy;  // (B, H W, E)
  void* dx;        // (B, H W, E) or null
  void* dw;        // (E, 3, 3) or null; always added to
  void* db;        // (E) or null; always added to
};

template <>
std::span<const Variant<DepthwiseConv2dFwd>> variants<DepthwiseConv2dFwd>();
template <>
std::span<const Variant<DepthwiseConv2dBwd>> variants<DepthwiseConv2dBwd>();

}  // namespace krait
