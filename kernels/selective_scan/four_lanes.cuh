// What the rows share in which 4 lanes have a channel: lane 4c + q has channel c of 8 and of it the
// states 4q to 4q + 3. Of each tile of 8 tokens, in the order of the scan, it prepares and finishes
// tokens 2q and 2q + 1 for all 4.
#pragma once

#include "kernels/selective_scan/pipelined.cuh"

namespace krait::four_lanes {

using namespace pipelined;

constexpr int channels = 8;  // of a warp: 16 bytes of bf16
static_assert(scan_state_every(N) == tile);

struct Channel {  // what a lane knows of it
  float A[4], D, bias;
  uint32_t w[2] = {0, 0};  // of W_dt: columns 2q, 2q + 1 and 8 behind
  // Apart from the loads, so that other work can stand between.
  __device__ __forceinline__ void finish() {
#pragma unroll
    for (float& v : A) v = -__expf(v);
    bias *= log2e;
  }
};
// To be finished.
template <bool project, class Side>
__device__ __forceinline__ Channel load_channel(const ScanFwd& p, const Side& s, int e, int q) {
  Channel of;
  const float4 v = static_cast<const float4*>(s.A_log)[e * (N / 4) + q];
  of.A[0] = v.x, of.A[1] = v.y, of.A[2] = v.z, of.A[3] = v.w;
  of.D = s.D ? static_cast<const float*>(s.D)[e] : 0;
  of.bias = s.bias ? static_cast<const float*>(s.bias)[e] : 0;
  if constexpr (project)
#pragma unroll
    for (int i = 0; i < 2; ++i)
      if (2 * q + 8 * i < p.R)
        of.w[i] = static_cast<const uint32_t*>(s.dt_w)[e * p.R / 2 + q + 4 * i];
  return of;
}

struct Ready {             // a tile as the recurrence reads it
  float bc[tile][2 * N];   // B, then C
  float4 dt[4][channels];  // of two tokens: dt and dt u of each; [q][c ^ 2q] for tokens 2q, 2q + 1
};
// Through the tile: h goes on, and y becomes the lane's share of C . h for each of its tokens.
template <bool read_out = true>
__device__ __forceinline__ void walk(float (&h)[4], float (&y)[tile], const Ready& ready,
                                     const Channel& of, int c, int q) {
#pragma unroll
  for (int j = 0; j < tile; ++j) {
    const float4 two = ready.dt[j / 2][c ^ j / 2 * 2];
    const float dt = j % 2 ? two.z : two.x, dtu = j % 2 ? two.w : two.y;
    const float4 Bv = *reinterpret_cast<const float4*>(&ready.bc[j][4 * q]);
    const float4 Cv = *reinterpret_cast<const float4*>(&ready.bc[j][N + 4 * q]);
    const float B[4] = {Bv.x, Bv.y, Bv.z, Bv.w}, C[4] = {Cv.x, Cv.y, Cv.z, Cv.w};
    y[j] = 0;
#pragma unroll
    for (int m = 0; m < 4; ++m) {
      h[m] = fmaf(fast_exp2(dt * of.A[m]), h[m], dtu * B[m]);
      if constexpr (read_out) y[j] = fmaf(h[m], C[m], y[j]);
    }
  }
}
// Sums over the 4 lanes, into y[0] and y[1] of tokens 2q and 2q + 1: a lane keeps half of the
// tokens and gives away the others, twice.
__device__ __forceinline__ void share_out(float (&y)[tile], int q) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const float mine = q & 2 ? y[j + 4] : y[j], other = q & 2 ? y[j] : y[j + 4];
    y[j] = mine + __shfl_xor_sync(~0u, other, 2);
  }
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const float mine = q & 1 ? y[j + 2] : y[j], other = q & 1 ? y[j] : y[j + 2];
    y[j] = mine + __shfl_xor_sync(~0u, other, 1);
  }
}

}  // namespace krait::four_lanes
