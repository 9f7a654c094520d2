// GPU row. Pass 1: a thread sums the squares of every (grid size)-th element, a block writes its
// sum; the number of blocks is fixed, so every GPU adds in the same order. Pass 2: one block adds
// the blocks' sums. In double throughout: there are few of them, and memory decides anyway.
#include "kernels/common/device/dispatch.cuh"
#include "kernels/grad_norm/grad_norm.h"

namespace krait {
namespace {

constexpr int blocks = 512, threads = 256;

// Sum over a block of `size` threads (a power of two, at least 64), in a fixed order; thread 0 gets
// it.
template <int size>
__device__ double block_sum(double v) {
  __shared__ double part[size / 32];
  for (int o = 16; o > 0; o /= 2) v += __shfl_down_sync(0xFFFFFFFFu, v, o);
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
  __syncthreads();
  if (threadIdx.x == 0) {
    v = 0;
    for (int w = 0; w < size / 32; ++w) v += part[w];
  }
  return v;
}

__global__ void sum_squares(GradNorm p, double* part) {
  const float* g = static_cast<const float*>(p.grad);
  const int64_t stride = int64_t{blocks} * threads;
  double sum = 0;
#pragma unroll 4
  for (int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x; i < p.n; i += stride)
    sum += double(g[i]) * double(g[i]);
  sum = block_sum<threads>(sum);
  if (threadIdx.x == 0) part[blockIdx.x] = sum;
}

__global__ void finish(GradNorm p, const double* part) {
  const double sum = block_sum<blocks>(part[threadIdx.x]);
  if (threadIdx.x != 0) return;
  const float norm = static_cast<float>(sqrt(sum));
  p.result->grad_norm = norm;
  if (p.recovers) p.result->halted = 0;
  if (!isfinite(norm)) p.result->halted = 1;
  if (p.norm) *static_cast<float*>(p.norm) = norm;
}

}  // namespace

void grad_norm_two_pass(const GradNorm& p, const Launch& l) {
  double* part = static_cast<double*>(l.scratch);
  sum_squares<<<blocks, threads, 0, l.stream>>>(p, part);
  finish<<<1, blocks, 0, l.stream>>>(p, part);
}
bool grad_norm_two_pass_fits(const GradNorm& p, const Device&) {
  return p.dtype == DType::f32;
}
size_t grad_norm_two_pass_scratch(const GradNorm&) {
  return blocks * sizeof(double);
}

}  // namespace krait
