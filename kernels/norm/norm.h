// Residual addition and normalisation in one pass: RMSNorm (Zhang & Sennrich 2019) or LayerNorm
// (Ba et al. 2016) over the last dimension.
//   v = rotate(x + residual),  mean = layer ? sum_d v / D : 0,
//   rstd = 1 / sqrt(sum_d (v - mean)^2 / D + eps),  y = (v - mean) rstd w + b
#pragma once

#include "kernels/common/kernel.h"

namespace krait {

enum class NormKind : uint8_t { rms, layer };

// RoPE of the sum, as kernels/rope/rope.h has it: rows are L tokens of one image after another; of
// each image the last P tokens are rotated.
struct Rotation {
  int64_t L = 0, P = 0;
  const void* cos = nullptr;  // (P, D) accum, D even; or null: nothing is rotated
  const void* sin = nullptr;  // (P, D)
};

struct AddNormFwd {
  static constexpr const char* name = "add_norm_fwd";
  DType dtype;    // of y; everything else is accum(dtype)
  DType x_dtype;  // of x: dtype, or accum(dtype)
  NormKind kind;
  int64_t rows;
  int64_t D;
  double eps;
  Rotation rotation = {};
  const void* x = nullptr;         // (rows, D) or null: the sum is the residual
  const void* residual = nullptr;  // (rows, D) or null: the sum is x; not both null
  const void* w = nullptr;         // (D)
  const void* b = nullptr;         // (D) or null
  void* residual_out = nullptr;    // (rows, D): v; null where v is the residual: no x, no rotation
  void* y = nullptr;               // (rows, D)
  void* mean = nullptr;            // (rows), written by LayerNorm; null: not kept
  void* rstd = nullptr;            // (rows); null: not kept
};

// With n = (v - mean) rstd and g = dy w:
//   dv = rstd (g - n sum_d g n / D - (layer ? sum_d g / D : 0)) + dresidual_out
//   dx = dresidual = rotate back(dv)
//   dw += sum_rows dy n,  db += sum_rows dy
struct AddNormBwd {
  static constexpr const char* name = "add_norm_bwd";
  DType dtype;    // of dy
  DType x_dtype;  // of dx
  NormKind kind;
  int64_t rows;
  int64_t D;
  bool accumulate_dx;
  bool accumulate_dresidual;
  Rotation rotation = {};               // that of the forward pass
  const void* v = nullptr;              // (rows, D) accum, as the forward pass left it
  const void* w = nullptr;              // (D) accum
  const void* mean = nullptr;           // (rows) accum; LayerNorm only
  const void* rstd = nullptr;           // (rows) accum
  const void* dy = nullptr;             // (rows, D) or null: zero
  const void* dresidual_out = nullptr;  // (rows, D) accum, or null: zero
  void* dx = nullptr;                   // (rows, D) of x_dtype, or null
  void* dresidual = nullptr;            // (rows, D) accum, or null
  void* dw = nullptr;                   // (D) accum, or null; always added to
  void* db = nullptr;                   // (D) accum, or null; always added to
};

template <>
std::span<const Variant<AddNormFwd>> variants<AddNormFwd>();
template <>
std::span<const Variant<AddNormBwd>> variants<AddNormBwd>();

}  // namespace krait
