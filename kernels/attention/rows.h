// The functions behind the table of variants.cpp.
#pragma once

#include "kernels/attention/attention.h"

namespace krait {

// Where the rows of one picture and head start: q_i at i * qkv_row() of the first, k_i and v_i
// width() and 2 width() further, y_i at i * width().
template <class P>
struct Head {
  int64_t b, h;
  KRAIT_HD static int64_t width(const P& p) { return p.heads * p.d; }
  KRAIT_HD static int64_t qkv_row(const P& p) { return 3 * width(p); }
  KRAIT_HD int64_t qkv(const P& p) const { return b * p.L * qkv_row(p) + h * p.d; }
  KRAIT_HD int64_t y(const P& p) const { return b * p.L * width(p) + h * p.d; }
  KRAIT_HD int64_t lse(const P& p) const { return (b * p.heads + h) * p.L; }
};

void attention_fwd_reference(const AttentionFwd&, const Launch&);
void attention_bwd_reference(const AttentionBwd&, const Launch&);

bool attention_fwd_openmp_supports(const AttentionFwd&, const Device&);
void attention_fwd_openmp(const AttentionFwd&, const Launch&);
bool attention_bwd_openmp_supports(const AttentionBwd&, const Device&);
void attention_bwd_openmp(const AttentionBwd&, const Launch&);

#if KRAIT_CUDA
bool attention_fwd_tensor_tiles_supports(const AttentionFwd&, const Device&);
void attention_fwd_tensor_tiles(const AttentionFwd&, const Launch&);
bool attention_bwd_tensor_tiles_supports(const AttentionBwd&, const Device&);
size_t attention_bwd_tensor_tiles_scratch(const AttentionBwd&);
void attention_bwd_tensor_tiles(const AttentionBwd&, const Launch&);

bool attention_fwd_key_tiles_supports(const AttentionFwd&, const Device&);
void attention_fwd_key_tiles(const AttentionFwd&, const Launch&);
bool attention_bwd_key_tiles_supports(const AttentionBwd&, const Device&);
size_t attention_bwd_key_tiles_scratch(const AttentionBwd&);
void attention_bwd_key_tiles(const AttentionBwd&, const Launch&);
#endif

}  // namespace krait
