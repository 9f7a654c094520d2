// The second pass of every sum over rows: adds up what the blocks of the first pass left in
// scratch, always in the same order. No atomics, so two runs give the same bits.
#pragma once

#include "kernels/common/device/dispatch.cuh"

namespace krait {

// A block owns 32 columns of sum blockIdx.y; its 32 warps take every 32nd slice each, and the first
// warp adds the warps' sums in order.
static __global__ void add_slices_kernel(const float* part, int64_t part_row, int64_t slices,
                                         int64_t n, float* sum, int64_t next) {
  part += blockIdx.y * slices * part_row;
  sum += blockIdx.y * next;
  __shared__ float of_warp[32][32];
  const int64_t d = int64_t{blockIdx.x} * 32 + threadIdx.x;
  float s = 0;
  if (d < n)
    for (int64_t k = threadIdx.y; k < slices; k += 32) s += part[k * part_row + d];
  of_warp[threadIdx.y][threadIdx.x] = s;
  __syncthreads();
  if (threadIdx.y > 0 || d >= n) return;
  for (int w = 1; w < 32; ++w) s += of_warp[w][threadIdx.x];
  sum[d] += s;
}

// sum[d] += sum over k < slices of part[k * part_row + d], for d < n. `count` such sums: their
// slices follow each other, they themselves are `next` elements apart.
inline void add_slices(const float* part, int64_t part_row, int64_t slices, int64_t n, float* sum,
                       CUstream_st* stream, int64_t count = 1, int64_t next = 0) {
  const dim3 grid(blocks_for(n, 32), static_cast<unsigned>(count));
  add_slices_kernel<<<grid, dim3(32, 32), 0, stream>>>(part, part_row, slices, n, sum, next);
}

}  // namespace krait
