// Sums over a warp and a block, always in the same order.
#pragma once

namespace krait {

__device__ inline float warp_sum(float v) {
  for (int o = 16; o > 0; o /= 2) v += __shfl_xor_sync(0xFFFFFFFFu, v, o);
  return v;
}
__device__ inline float warp_max(float v) {
  for (int o = 16; o > 0; o /= 2) v = fmaxf(v, __shfl_xor_sync(0xFFFFFFFFu, v, o));
  return v;
}

// Sum over a block of up to 1024 threads (a multiple of 32); every thread gets it.
__device__ inline float block_sum(float v) {
  __shared__ float part[32];
  const int warps = blockDim.x / 32;
  v = warp_sum(v);
  __syncthreads();  // the array may still be read from the previous call
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
  __syncthreads();
  return warp_sum(static_cast<int>(threadIdx.x % 32) < warps ? part[threadIdx.x % 32] : 0.0f);
}

}  // namespace krait
