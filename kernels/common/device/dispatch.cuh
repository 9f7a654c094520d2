// Turns a run-time element type into a template argument, for GPU kernels (f32 and bf16 only).
#pragma once

#include "kernels/common/dtype.h"
#include "kernels/common/error.h"

namespace krait {

template <class F>
void dispatch_gpu(DType t, F&& f) {
  KRAIT_CHECK(t == DType::f32 || t == DType::bf16, "no GPU code for ", name_of(t));
  if (t == DType::f32) f.template operator()<float>();
  if (t == DType::bf16) f.template operator()<bf16>();
}

// Blocks of `threads` for `work` items, at most `most` (kernels then loop with a grid stride).
inline unsigned blocks_for(int64_t work, int64_t threads, int64_t most = int64_t{1} << 30) {
  int64_t n = (work + threads - 1) / threads;
  return static_cast<unsigned>(n < 1 ? 1 : n < most ? n : most);
}

// A thread takes every (grid size)-th of n items, so any grid does for any n.
#define KRAIT_GRID_STRIDE(i, n)                                             \
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < (n); \
       i += int64_t{gridDim.x} * blockDim.x)

}  // namespace krait
