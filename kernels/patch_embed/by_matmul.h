// The patch embedding as a matrix product over the gathered patches, the same for both backends:
//   cols (B P, C p p): each row a patch;  y = cols w^T + b
//   dw = dy^T cols,  dcols = dy w,  dimages = for each pixel the sum of dcols over the patches on
//   it
// Scratch: cols (later dcols), then whatever the inner kernels ask for.
#pragma once

#include <algorithm>

#include "kernels/common/inner.h"
#include "kernels/matmul/matmul.h"
#include "kernels/patch_embed/patch_embed.h"
#include "kernels/reduce/reduce.h"

namespace krait::by_matmul {

inline Matmul forward(const PatchEmbedFwd& p, const void* cols) {
  const int64_t n = p.grid.numbers();
  return {.dtype = p.dtype,
          .c_dtype = p.dtype,
          .m = p.B * p.grid.patches(),
          .n = p.D,
          .k = n,
          .trans_b = true,
          .allow_tf32 = p.allow_tf32,
          .a = cols,
          .b = p.w,
          .c = p.y,
          .a_row = n,
          .b_row = n,
          .c_row = p.D};
}
inline Matmul weight(const PatchEmbedBwd& p, const void* cols) {
  const int64_t n = p.grid.numbers();
  return {.dtype = p.dtype,
          .c_dtype = accum(p.dtype),
          .m = p.D,
          .n = n,
          .k = p.B * p.grid.patches(),
          .trans_a = true,
          .accumulate = true,
          .allow_tf32 = p.allow_tf32,
          .a = p.dy,
          .b = cols,
          .c = p.dw,
          .a_row = p.D,
          .b_row = n,
          .c_row = n};
}
inline Matmul patches(const PatchEmbedBwd& p, void* dcols) {
  const int64_t n = p.grid.numbers();
  return {.dtype = p.dtype,
          .c_dtype = p.dtype,
          .m = p.B * p.grid.patches(),
          .n = n,
          .k = p.D,
          .allow_tf32 = p.allow_tf32,
          .a = p.dy,
          .b = p.w,
          .c = dcols,
          .a_row = p.D,
          .b_row = n,
          .c_row = n};
}
inline AddBias bias(const PatchEmbedFwd& p) {
  return {
      .dtype = p.dtype, .rows = p.B * p.grid.patches(), .D = p.D, .row = p.D, .b = p.b, .y = p.y};
}
inline ColumnSum bias(const PatchEmbedBwd& p) {
  return {.dtype = p.dtype,
          .rows = p.B * p.grid.patches(),
          .D = p.D,
          .row = p.D,
          .x = p.dy,
          .sum = p.db};
}

template <class P>
size_t cols_bytes(const P& p) {
  const size_t n = p.B * p.grid.patches() * p.grid.numbers() * size_of(p.dtype);
  return (n + 255) / 256 * 256;
}
inline size_t scratch(const PatchEmbedFwd& p, Backend backend) {
  return cols_bytes(p) +
         std::max(inner_bytes(forward(p, nullptr), backend), inner_bytes(bias(p), backend));
}
inline size_t scratch(const PatchEmbedBwd& p, Backend backend) {
  return cols_bytes(p) +
         std::max({inner_bytes(weight(p, nullptr), backend),
                   inner_bytes(patches(p, nullptr), backend), inner_bytes(bias(p), backend)});
}
// gather(p, cols, launch): fills cols.
template <class Gather>
void run_forward(const PatchEmbedFwd& p, const Launch& l, Gather&& gather) {
  std::byte* cols = static_cast<std::byte*>(l.scratch);
  std::byte* inner = cols + cols_bytes(p);
  gather(p, cols, l);
  run_inner(forward(p, cols), l, inner);
  if (p.b) run_inner(bias(p), l, inner);
}
// scatter(p, dcols, launch): writes dimages.
template <class Gather, class Scatter>
void run_backward(const PatchEmbedBwd& p, const Launch& l, Gather&& gather, Scatter&& scatter) {
  std::byte* cols = static_cast<std::byte*>(l.scratch);
  std::byte* inner = cols + cols_bytes(p);
  if (p.dw) {
    gather(p, cols, l);
    run_inner(weight(p, cols), l, inner);
  }
  if (p.db) run_inner(bias(p), l, inner);
  if (p.dimages) {
    run_inner(patches(p, cols), l, inner);
    scatter(p, cols, l);
  }
}

}  // namespace krait::by_matmul
