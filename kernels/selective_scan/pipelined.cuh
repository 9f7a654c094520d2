// What the pipelined rows of the scan share: tiles of 8 tokens that arrive in shared memory while
// the tile before is computed. Exponentials are taken to the base 2, so dt is kept times log2(e).
#pragma once

#include "kernels/common/device/async_copy.cuh"
#include "kernels/common/device/fast_math.cuh"
#include "kernels/common/device/tensor_cores.cuh"
#include "kernels/selective_scan/selective_scan.h"

namespace krait::pipelined {

constexpr int N = 16;    // states: they fill the registers of a thread
constexpr int tile = 8;  // tokens
constexpr int threads = 128;
constexpr float log2e = 1.44269504088896f, ln2 = 0.69314718055995f;

// A matrix of bf16 with 16 columns in shared memory, row by row. The two halves of rows 4..7 of
// each 8 are exchanged, so that the same half of 8 rows lies in different banks.
template <int rows>
using Matrix = uint4[rows][2];
template <int rows>
__device__ __forceinline__ auto& half_row(Matrix<rows>& m, int row, int half) {
  return m[row][half ^ (row / 4 % 2)];
}
template <int rows>
__device__ __forceinline__ const auto& half_row(const Matrix<rows>& m, int row, int half) {
  return m[row][half ^ (row / 4 % 2)];
}
__device__ __forceinline__ uint32_t word(const uint16_t& pair) {
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// ---- delta made here: W_dt (channels x R) times dt (R), R rounded up to 16 columns of zeros
constexpr int max_R = 16;

// Queues the copies of the rows of W_dt for `rows` channels from `first` on.
template <int rows, int threads, class P, class S>
__device__ __forceinline__ void copy_dt_weights(Matrix<rows>& to, const P& p, const S& s, int first,
                                                int thread) {
  const auto from = static_cast<const uint32_t*>(s.dt_w);
  const int pair = thread % 8, row = static_cast<int>(p.R) / 2;
#pragma unroll
  for (int c = thread / 8; c < rows; c += threads / 8) {
    const bool has = first + c < p.E && 2 * pair < p.R;
    async_copy_4(reinterpret_cast<uint32_t*>(&half_row(to, c, pair / 4)) + pair % 4,
                 from + (has ? (first + c) * row + pair : 0), has);
  }
}

// log2(e) softplus(x) from log2(e) x: one exponential, one logarithm, for any x.
__device__ __forceinline__ float softplus_log2(float x) {
  return fmaxf(x, 0.0f) + fast_log2(1.0f + fast_exp2(-fabsf(x)));
}
__device__ __forceinline__ float sigmoid(float x) {
  return fast_reciprocal(1.0f + fast_exp2(-log2e * x));
}

// Where a pair of B or C of a token stands: 16 pairs of bf16 numbers, B's first.
template <class Side>
__device__ __forceinline__ const bf16* bc_pair(const Side& s, int64_t row, int pair) {
  return pair < N / 2 ? static_cast<const bf16*>(s.Bm) + row * s.b_row + 2 * pair
                      : static_cast<const bf16*>(s.Cm) + row * s.c_row + 2 * pair - N;
}

// Rows of 8-channel chunks on 16 bytes, pairs of B and C on 4.
inline bool on_multiples(size_t bytes, std::initializer_list<const void*> pointers) {
  for (const void* p : pointers)
    if (reinterpret_cast<uintptr_t>(p) % bytes) return false;
  return true;
}
template <class P>
bool fits(const P& p, const Device& device) {
  bool fit = device.sm >= 80 && p.dtype == DType::bf16 && p.N == N && p.softplus && p.R <= max_R &&
             p.R % 2 == 0 && p.E % 8 == 0 && p.z && p.z_row % 8 == 0 &&
             on_multiples(16, {p.z, p.sum}) && p.B * p.L * p.E < int64_t{1} << 40;
  for (int k = 0; k < p.sides; ++k) {
    const auto& s = p.side[k];
    fit = fit && on_multiples(16, {s.u, s.delta, s.states, s.A_log}) &&
          on_multiples(4, {s.Bm, s.Cm, s.dt, s.dt_w}) && s.b_row % 2 == 0 && s.c_row % 2 == 0 &&
          s.dt_row % 2 == 0;
  }
  return fit;
}

}  // namespace krait::pipelined
