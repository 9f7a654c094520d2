// Rotary position embedding over a picture's grid (Su et al. 2021; EVA-02's form for two axes).
//   y[t, 2k]     = x[t, 2k] cos - x[t, 2k+1] sin
//   y[t, 2k + 1] = x[t, 2k + 1] cos + x[t, 2k] sin        cos, sin at [t - (L - P), 2k]
// The first L - P tokens are copied. A rotation's gradient is the rotation back, so the same kernel
// with `inverse` (sin -> -sin) is the backward pass.
#pragma once

#include "kernels/common/kernel.h"

namespace krait {

struct RopeFwd {
  static constexpr const char* name = "rope";
  DType dtype;  // of x and y; cos and sin are accum(dtype)
  int64_t B;
  int64_t L;        // tokens
  int64_t P;        // rows of the tables, at most L
  int64_t D;        // channels, even
  bool inverse;     // rotate back
  bool accumulate;  // y += rather than y =
  const void* x;    // (B, L, D)
  const void* cos;  // (P, D): the angles of channels 2k and 2k + 1 are the same
  const void* sin;  // (P, D)
  void* y;          // (B, L, D)
};

template <>
std::span<const Variant<RopeFwd>> variants<RopeFwd>();

}  // namespace krait
