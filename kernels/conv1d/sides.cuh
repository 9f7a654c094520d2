// What the GPU rows of the depthwise convolution share.
#pragma once

#include <cstdint>

#include "kernels/common/cuda.h"
#include "kernels/common/device/dispatch.cuh"
#include "kernels/common/device/fast_math.cuh"
#include "kernels/conv1d/rows.h"

namespace krait {

// The sides put in order: [0] looks back, [1] looks ahead; one that is not there has on = false.
template <class Side>
struct Ordered {
  Side side[2];
  bool on[2];
};
template <class P>
auto in_order(const P& p) {
  Ordered<typename P::Side> o{};
  for (int n = 0; n < p.sides; ++n) {
    const int at = p.side[n].reverse ? 1 : 0;
    o.side[at] = p.side[n];
    o.on[at] = true;
  }
  return o;
}
template <class P>
bool same_direction(const P& p) {
  return p.sides == 2 && p.side[0].reverse == p.side[1].reverse;
}

// words[i] = row first + i of `from`, zero outside 0 .. L - 1. No branch, so that all the loads are
// on their way at once; offsets in an image take 32 bits (see rows_fit), which halves their cost.
template <class Word, class T, int N>
__device__ void load_rows(Word (&words)[N], const T* from, int row, int first, int L) {
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const uint32_t t = first + i;
    const bool inside = t < static_cast<uint32_t>(L);  // -1 is a large number
    const Word w = *reinterpret_cast<const Word*>(from + (inside ? t * row : 0u));
    words[i] = inside ? w : Word{};
  }
}
inline bool rows_fit(int64_t L, int64_t row) {
  return row < int64_t{1} << 31 && L < (int64_t{1} << 31) / row;
}

// SiLU of q as a function of z = scale q: the taps and the bias are multiplied by the scale once,
// so z costs no more than q. slope: silu'(q) / scale.
struct SiluByExp {  // one exponential, one reciprocal
  static constexpr float ln2 = 0.693147181f, scale = -1 / ln2;
  static __device__ __forceinline__ float sigmoid(float z) {
    return fast_reciprocal(1.0f + fast_exp2(z));
  }
  static __device__ __forceinline__ float value(float z) { return z * -ln2 * sigmoid(z); }
  static __device__ __forceinline__ float slope(float z) {
    const float s = sigmoid(z);
    return s * (z * (ln2 * ln2 - ln2 * ln2 * s) - ln2);
  }
};
// sigmoid(q) = (1 + tanh(q / 2)) / 2: one instruction instead of two of the unit that computes such
// functions, and fewer others. Its error is below the rounding of y to bf16, but not that of f32.
struct SiluByTanh {
  static constexpr float scale = 0.5f;
  static __device__ __forceinline__ float value(float z) { return z * fast_tanh(z) + z; }
};

// Block (bx, k) adds the slices of 32 channels for one tap (or, k = K, the bias) of both sides: row
// r of the block takes slices r, r + 16, ..; then the rows are added in order. One thread adds to
// both sides' dw, which may be the same memory. part (slices, 2, K + 1, E)
constexpr int add_rows = 16;
static __global__ void add_side_slices(Ordered<Conv1dBwd::Side> o, int K, int64_t E, int slices,
                                       const float* part) {
  __shared__ float rows[2][add_rows][32];
  const int64_t e = int64_t{blockIdx.x} * 32 + threadIdx.x;
  const int k = blockIdx.y;
  float v[2] = {0, 0};
  if (e < E)
#pragma unroll 4
    for (int s = threadIdx.y; s < slices; s += add_rows)
      for (int n = 0; n < 2; ++n) v[n] += part[((int64_t{s} * 2 + n) * (K + 1) + k) * E + e];
  for (int n = 0; n < 2; ++n) rows[n][threadIdx.y][threadIdx.x] = v[n];
  __syncthreads();
  if (threadIdx.y != 0 || e >= E) return;
  for (int n = 0; n < 2; ++n) {
    if (!o.on[n]) continue;
    float sum = 0;
    for (int r = 0; r < add_rows; ++r) sum += rows[n][r][threadIdx.x];
    if (k < K && o.side[n].dw) static_cast<float*>(o.side[n].dw)[e * K + k] += sum;
    if (k == K && o.side[n].db) static_cast<float*>(o.side[n].db)[e] += sum;
  }
}
inline void add_sides(const Ordered<Conv1dBwd::Side>& o, const Conv1dBwd& p, int slices,
                      const float* part, Stream stream) {
  const dim3 grid(blocks_for(p.E, 32), p.K + 1);
  add_side_slices<<<grid, dim3(32, add_rows), 0, stream>>>(o, p.K, p.E, slices, part);
}

}  // namespace krait
