// What the pipelined rows of the scan share: tiles of 8 tokens that arrive in shared memory while
// the tile before is computed. Exponentials are taken to the base 2, so dt is kept times log2(e).
#pragma once

#include "kernels/common/device/async_copy.cuh"
#include "kernels/common/device/fast_math.cuh"
#include "kernels/selective_scan/selective_scan.h"

namespace krait::pipelined {

constexpr int N = 16;    // states: they fill the registers of a thread
constexpr int tile = 8;  // tokens
constexpr int threads = 128;
constexpr float log2e = 1.44269504088896f, ln2 = 0.69314718055995f;

// Two bf16 numbers in one word, the first in the lower half.
__device__ __forceinline__ uint32_t pack(float first, float second) {
  uint32_t r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(second), "f"(first));
  return r;
}
__device__ __forceinline__ float first_of(uint32_t pair) {
  return __uint_as_float(pair << 16);
}
__device__ __forceinline__ float second_of(uint32_t pair) {
  return __uint_as_float(pair & 0xFFFF0000u);
}

// log2(e) softplus(x) from log2(e) x: one exponential, one logarithm, for any x.
__device__ __forceinline__ float softplus_log2(float x) {
  return fmaxf(x, 0.0f) + fast_log2(1.0f + fast_exp2(-fabsf(x)));
}
__device__ __forceinline__ float sigmoid(float x) {
  return fast_reciprocal(1.0f + fast_exp2(-log2e * x));
}

// B and C of a token: 16 pairs of bf16 numbers, B's first.
template <class Side>
__device__ __forceinline__ uint32_t load_bc_pair(const Side& s, int64_t row, int pair) {
  const bf16* from = pair < N / 2 ? static_cast<const bf16*>(s.Bm) + row * s.b_row + 2 * pair
                                  : static_cast<const bf16*>(s.Cm) + row * s.c_row + 2 * pair - N;
  return *reinterpret_cast<const uint32_t*>(from);
}

// Rows of 8-channel chunks on 16 bytes, pairs of B and C on 4.
inline bool on_multiples(size_t bytes, std::initializer_list<const void*> pointers) {
  for (const void* p : pointers)
    if (reinterpret_cast<uintptr_t>(p) % bytes) return false;
  return true;
}
template <class P>
bool fits(const P& p, const Device& device) {
  bool fit = device.sm >= 80 && p.dtype == DType::bf16 && p.N == N && p.softplus && p.E % 8 == 0 &&
             p.z && p.z_row % 8 == 0 && on_multiples(16, {p.z, p.sum}) &&
             p.B * p.L * p.E < int64_t{1} << 40;
  for (int k = 0; k < p.sides; ++k) {
    const auto& s = p.side[k];
    fit = fit && on_multiples(16, {s.u, s.delta, s.states}) && on_multiples(4, {s.Bm, s.Cm}) &&
          s.b_row % 2 == 0 && s.c_row % 2 == 0;
  }
  return fit;
}

}  // namespace krait::pipelined
