// What the GPU rows share: the walk along a row of the grid with the 3 x 3 tokens around it in
// registers, the lane's weights, and the way of its sums for dw and db over the block and over the
// blocks. In an unnamed namespace of each file that includes it.
#pragma once

#include <cstdint>

#include "kernels/common/device/dispatch.cuh"
#include "kernels/common/device/fast_math.cuh"
#include "kernels/common/device/pair.cuh"
#include "kernels/depthwise_conv2d/depthwise_conv2d.h"

namespace krait {
namespace {

constexpr int lanes = 32, warps = 8;  // of a block

template <int V>
struct Channels {
  float of[V];
};
template <int V, class T>
__device__ __forceinline__ Channels<V> load(const T* p) {
  if constexpr (V == 1) {
    return {{float(*p)}};
  } else {
    const float2 v = load_pair(p);
    return {{v.x, v.y}};
  }
}
template <int V, class T>
__device__ __forceinline__ void store(T* p, const Channels<V>& v) {
  if constexpr (V == 1)
    *p = T(v.of[0]);
  else
    store_pair(p, float2{v.of[0], v.of[1]});
}

// Calls f(x, window) for each token x of a row of W; window[i][j] is the token at row + i - 1,
// x + j - 1, zero outside. `row`: the first token of the row, tokens `step` elements apart; above,
// below: are there such rows?
template <int V, class T, class F>
__device__ __forceinline__ void walk(const T* row, int W, int step, bool above, bool below, F&& f) {
  const T* lines[3] = {row - W * step, row, row + W * step};
  const bool on[3] = {above, true, below};
  Channels<V> window[3][3] = {};
#pragma unroll
  for (int i = 0; i < 3; ++i)
    if (on[i]) window[i][2] = load<V>(lines[i]);
#pragma unroll 3
  for (int x = 0; x < W; ++x) {
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      window[i][0] = window[i][1];
      window[i][1] = window[i][2];
      window[i][2] = {};
      if (on[i] && x + 1 < W) window[i][2] = load<V>(lines[i] + (x + 1) * step);
    }
    f(x, window);
  }
}

template <int V>
struct Taps {
  Channels<V> w[9], b;
  template <class P>
  __device__ void load(const P& p, int e) {
#pragma unroll
    for (int c = 0; c < V; ++c) {
      b.of[c] = p.b ? static_cast<const float*>(p.b)[e + c] : 0.0f;
#pragma unroll
      for (int k = 0; k < 9; ++k) w[k].of[c] = static_cast<const float*>(p.w)[(e + c) * 9 + k];
    }
  }
};
__device__ __forceinline__ float sigmoid(float q) {
  return fast_reciprocal(1.0f + fast_exp2(q * -1.44269504f));
}
// q of the token in the middle of the window, for channel c of the lane.
template <int V>
__device__ __forceinline__ float q_of(const Taps<V>& taps, const Channels<V> (&window)[3][3],
                                      int c) {
  float q = taps.b.of[c];
#pragma unroll
  for (int k = 0; k < 9; ++k) q += taps.w[k].of[c] * window[k / 3][k % 3].of[c];
  return q;
}

// Sums of a lane over all rows of its warp: dw and db, later added over the block's warps. `shared`
// holds warps * lanes * V floats; part (10, E) is this block's.
template <int V>
__device__ void write_sums(const Channels<V> (&sums)[10], float* shared, float* part, int64_t E,
                           int e) {
#pragma unroll
  for (int k = 0; k < 10; ++k) {
    __syncthreads();  // what is in `shared` has been read
    store(shared + (threadIdx.y * lanes + threadIdx.x) * V, sums[k]);
    __syncthreads();
    if (threadIdx.y > 0 || e >= E) continue;
#pragma unroll
    for (int c = 0; c < V; ++c) {
      float sum = 0;
      for (int w = 0; w < warps; ++w) sum += shared[(w * lanes + threadIdx.x) * V + c];
      part[k * E + e + c] = sum;
    }
  }
}

// Block (bx, k) adds the slices of 32 channels for tap k (9: the bias): row r of the block takes
// slices r, r + 16, ..; then the rows are added in order. part (slices, 10, E)
constexpr int add_rows = 16;
__global__ void add_parts(DepthwiseConv2dBwd p, int slices, const float* part) {
  __shared__ float rows[add_rows][lanes];
  const int64_t e = int64_t{blockIdx.x} * lanes + threadIdx.x;
  const int k = blockIdx.y;
  float sum = 0;
  if (e < p.E)
    for (int s = threadIdx.y; s < slices; s += add_rows)
      sum += part[(int64_t{s} * 10 + k) * p.E + e];
  rows[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y > 0 || e >= p.E) return;
  for (int r = 1; r < add_rows; ++r) sum += rows[r][threadIdx.x];
  if (k < 9 && p.dw) static_cast<float*>(p.dw)[e * 9 + k] += sum;
  if (k == 9 && p.db) static_cast<float*>(p.db)[e] += sum;
}
inline void launch_add_parts(const DepthwiseConv2dBwd& p, int slices, const float* part,
                             const Launch& l) {
  add_parts<<<dim3(blocks_for(p.E, lanes), 10), dim3(lanes, add_rows), 0, l.stream>>>(p, slices,
                                                                                      part);
}

template <class F>
void with_width(bool pairs, F&& f) {
  if (pairs)
    f.template operator()<2>();
  else
    f.template operator()<1>();
}

}  // namespace
}  // namespace krait
