// Depthwise causal convolution over the tokens, with bias and SiLU, for one or both directions.
//   q[t] = b + sum_k w[k] x[t - (K-1) + k],  y[t] = silu(q[t])      (zeros before the first token)
//   reversed: q[t] = b + sum_k w[k] x[t + (K-1) - k]                (zeros after the last token)
//   backward: dq = dy silu'(q), dx[t] = sum_k w[k] dq[t + (K-1) - k], dw[k] = sum_t dq[t]
//   x[t-(K-1)+k], db = sum_t dq[t]; dx is summed over the sides.
#pragma once

#include "kernels/common/kernel.h"

namespace krait {

struct Conv1dFwd {
  static constexpr const char* name = "conv1d_fwd";
  DType dtype;    // of x and y; w and b are accum(dtype)
  int64_t B;      // images
  int64_t L;      // tokens
  int64_t E;      // channels
  int K;          // taps
  int sides;      // 1 or 2
  bool silu;      // else y = q
  int64_t x_row;  // elements from one token of x to the next, at least E
  const void* x;  // (B, L, E)
  struct Side {
    bool reverse;
    const void* w;  // (E, K)
    const void* b;  // (E) or null
    void* y;        // (B, L, E)
  } side[2];
};

struct Conv1dBwd {
  static constexpr const char* name = "conv1d_bwd";
  DType dtype;  // of x, dy and dx; the rest is accum(dtype)
  int64_t B;
  int64_t L;
  int64_t E;
  int K;
  int sides;
  bool silu;
  bool accumulate_dx;  // dx += rather than dx =
  int64_t x_row;
  int64_t dx_row;
  const void* x;  // (B, L, E)
  void* dx;       // (B, L, E) or null
  struct Side {
    bool reverse;
    const void* w;   // (E, K)
    const void* b;   // (E) or null
    const void* dy;  // (B, L, E) or null: zero
    void* dw;        // (E, K) or null; always added to. Both sides may share one
    void* db;        // (E) or null; always added to. Both sides may share one
  } side[2];
};

template <>
std::span<const Variant<Conv1dFwd>> variants<Conv1dFwd>();
template <>
std::span<const Variant<Conv1dBwd>> variants<Conv1dBwd>();

}  // namespace krait
