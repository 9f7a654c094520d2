// Four neighbouring elements, read or written by one instruction: 16 bytes of f32, 8 of bf16.
#pragma once

#include <type_traits>

#include "kernels/common/device/pair.cuh"

namespace krait {

// A quad as it lies in memory, and as four f32. Kept packed until it is used, bf16 needs half the
// registers.
template <class T>
using Quad = std::conditional_t<sizeof(T) == 4, float4, uint2>;
__device__ __forceinline__ float4 unpack(float4 q) {
  return q;
}
__device__ __forceinline__ float4 unpack(uint2 q) {
  return {__uint_as_float(q.x << 16), __uint_as_float(q.x & 0xFFFF0000u),
          __uint_as_float(q.y << 16), __uint_as_float(q.y & 0xFFFF0000u)};
}

// `p` must lie on a multiple of the quad's size: see aligned_for_quads.
template <class T>
__device__ __forceinline__ Quad<T> load_quad(const T* p) {
  return *reinterpret_cast<const Quad<T>*>(p);
}
__device__ __forceinline__ void store_quad(float* p, float4 v) {
  *reinterpret_cast<float4*>(p) = v;
}
__device__ __forceinline__ void store_quad(bf16* p, float4 v) {
  *reinterpret_cast<uint64_t*>(p) = bf16_pair(v.x, v.y) | uint64_t{bf16_pair(v.z, v.w)} << 32;
}

// Are all of these (null allowed) fit for quads of any type up to f32?
template <class... P>
bool aligned_for_quads(const P*... p) {
  return ((reinterpret_cast<uintptr_t>(p) % 16 == 0) && ...);
}

}  // namespace krait
