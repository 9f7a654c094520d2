// Softmax attention of several heads (Vaswani et al. 2017, section 3.2): every token looks at every
// token of its picture. For each picture and head, with rows q_i, k_j, v_j of d numbers:
//   s_ij = scale q_i . k_j,  p_ij = exp(s_ij - lse_i),  lse_i = log sum_j exp(s_ij)
//   y_i = sum_j p_ij v_j
#pragma once

#include "kernels/common/kernel.h"

namespace krait {

struct AttentionFwd {
  static constexpr const char* name = "attention_fwd";
  DType dtype;
  int64_t B, L;      // pictures, tokens
  int64_t heads, d;  // d: width of a head
  double scale;      // usually 1 / sqrt(d)
  const void* qkv;   // (B, L, 3, heads, d): queries, keys, values side by side
  void* y;           // (B, L, heads, d)
  void* lse;         // (B, heads, L) accum(dtype), for the backward pass; null: not kept
};

// With dp_ij = dy_i . v_j and delta_i = sum_j p_ij dp_ij = dy_i . y_i:
//   ds_ij = scale p_ij (dp_ij - delta_i)
//   dq_i = sum_j ds_ij k_j,  dk_j = sum_i ds_ij q_i,  dv_j = sum_i p_ij dy_i
// Nothing of size L x L is kept: p is made again from lse (Dao et al. 2022, "FlashAttention").
struct AttentionBwd {
  static constexpr const char* name = "attention_bwd";
  DType dtype;
  int64_t B, L;
  int64_t heads, d;
  double scale;
  bool accumulate;  // dqkv += rather than dqkv =
  const void* qkv;  // (B, L, 3, heads, d)
  const void* y;    // (B, L, heads, d), as the forward pass left it
  const void* lse;  // (B, heads, L) accum(dtype), as the forward pass left it
  const void* dy;   // (B, L, heads, d)
  void* dqkv;       // (B, L, 3, heads, d)
};

template <>
std::span<const Variant<AttentionFwd>> variants<AttentionFwd>();
template <>
std::span<const Variant<AttentionBwd>> variants<AttentionBwd>();

}  // namespace krait
