// Stores of 8 and 16 bytes in one instruction each. Written as `*to = v` the compiler (nvcc 13.0)
// takes some of them apart into 4-byte ones, each of which then writes an eighth of every 32-byte
// sector that it touches.
#pragma once

#include <cstdint>

namespace krait {

// `to` is in global memory, on 16 bytes.
__device__ __forceinline__ void store_16(void* to, const uint4& v) {
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(v.x), "r"(v.y), "r"(v.z),
               "r"(v.w)
               : "memory");
}
__device__ __forceinline__ void store_16(void* to, const float4& v) {
  store_16(to, uint4{__float_as_uint(v.x), __float_as_uint(v.y), __float_as_uint(v.z),
                     __float_as_uint(v.w)});
}
// On 8 bytes.
__device__ __forceinline__ void store_8(void* to, const uint2& v) {
  asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(to), "r"(v.x), "r"(v.y) : "memory");
}

}  // namespace krait
