// Two neighbouring elements, read or written by one instruction.
#pragma once

#include <cstdint>

#include "kernels/common/dtype.h"

namespace krait {

// Two f32 as one word of bf16, `low` first in memory.
__device__ __forceinline__ uint32_t bf16_pair(float low, float high) {
  uint32_t w;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(w) : "f"(high), "f"(low));
  return w;
}

// `p` must lie on a multiple of the pair's size: see aligned_for_pairs.
__device__ inline float2 load_pair(const float* p) {
  return *reinterpret_cast<const float2*>(p);
}
__device__ inline float2 load_pair(const bf16* p) {
  const uint32_t u = *reinterpret_cast<const uint32_t*>(p);
  return {__uint_as_float(u << 16), __uint_as_float(u & 0xFFFF0000u)};
}
__device__ inline void store_pair(float* p, float2 v) {
  *reinterpret_cast<float2*>(p) = v;
}
__device__ inline void store_pair(bf16* p, float2 v) {
  *reinterpret_cast<uint32_t*>(p) = bf16_pair(v.x, v.y);
}

// Are all of these (null allowed) fit for pairs of any type up to f32?
template <class... P>
bool aligned_for_pairs(const P*... p) {
  return ((reinterpret_cast<uintptr_t>(p) % 8 == 0) && ...);
}

}  // namespace krait
