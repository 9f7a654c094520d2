// Convolution of pictures that lie channels last, as tokens do.
//   y[b, oy, ox, d] = bias[d] + sum_{c, i, j} w[d, c, i, j] x[b, s oy - pad + i, s ox - pad + j, c]
//   (zero outside);  oy < (H + 2 pad - k) / s + 1, ox likewise
//   dw = sum over outputs of dy and the x under the tap,  db = sum dy,
//   dx[pixel] = sum over the outputs that look at it of sum_d dy[d] w[d, c, the tap]
#pragma once

#include "kernels/common/kernel.h"

namespace krait {

struct ConvShape {
  int64_t B, H, W, C;  // of x
  int64_t D;           // channels of y
  int64_t k;           // taps along a side
  int64_t stride, pad;
  KRAIT_HD int64_t high() const { return (H + 2 * pad - k) / stride + 1; }
  KRAIT_HD int64_t wide() const { return (W + 2 * pad - k) / stride + 1; }
  KRAIT_HD int64_t outputs() const { return high() * wide(); }  // of one picture
  KRAIT_HD int64_t numbers() const { return C * k * k; }        // under the taps of one output
};

struct Conv2dFwd {
  static constexpr const char* name = "conv2d_fwd";
  DType dtype;  // of x, w and y
  ConvShape shape;
  bool allow_tf32;  // f32 on the GPU may round its operands to TF32
  const void* x;    // (B, H, W, C)
  const void* w;    // (D, C, k, k)
  const void* b;    // (D), accum(dtype), or null
  void* y;          // (B, high, wide, D)
};

struct Conv2dBwd {
  static constexpr const char* name = "conv2d_bwd";
  DType dtype;  // of x, w, dy and dx
  ConvShape shape;
  bool allow_tf32;
  bool accumulate_dx;  // dx += rather than dx =
  const void* x;       // (B, H, W, C)
  const void* w;       // (D, C, k, k)
  const void* dy;      // (B, high, wide, D)
  void* dx;            // (B, H, W, C) or null
  void* dw;            // (D, C, k, k), accum(dtype), or null; always added to
  void* db;            // (D), accum(dtype), or null; always added to
};

template <>
std::span<const Variant<Conv2dFwd>> variants<Conv2dFwd>();
template <>
std::span<const Variant<Conv2dBwd>> variants<Conv2dBwd>();

}  // namespace krait
