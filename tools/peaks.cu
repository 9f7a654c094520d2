// Kernels that do one thing only, to measure what the GPU reaches at it.
#include "kernels/common/cuda.h"
#include "kernels/common/device/fast_math.cuh"
#include "tools/peaks.h"

namespace krait {
namespace {

constexpr int threads = 256;
constexpr int per_thread = 4;  // loads of 16 bytes that are on their way at once

// A block copies pieces of threads * per_thread words, grid size apart.
__global__ void __launch_bounds__(threads)
    copy_words(uint4* __restrict__ to, const uint4* __restrict__ from, size_t words) {
  constexpr size_t piece = threads * per_thread;
  for (size_t at = blockIdx.x * piece; at < words; at += gridDim.x * piece) {
    uint4 v[per_thread];
#pragma unroll
    for (int k = 0; k < per_thread; ++k) {
      const size_t i = at + k * threads + threadIdx.x;
      if (i < words) v[k] = __ldcs(from + i);
    }
#pragma unroll
    for (int k = 0; k < per_thread; ++k) {
      const size_t i = at + k * threads + threadIdx.x;
      if (i < words) __stcs(to + i, v[k]);
    }
  }
}

// A thread has `chains` numbers that do not wait for each other.
constexpr int chains = 8, blocks_each = 8;  // blocks on a multiprocessor: all the warps it holds

template <int rounds, class F>
__device__ void repeat(F&& next) {
  float x[chains];
#pragma unroll
  for (int c = 0; c < chains; ++c) x[c] = 0.01f * static_cast<float>(threadIdx.x + c);
#pragma unroll 16
  for (int r = 0; r < rounds; ++r) {
#pragma unroll
    for (int c = 0; c < chains; ++c) x[c] = next(x[c]);
  }
  float sum = 0;
#pragma unroll
  for (int c = 0; c < chains; ++c) sum += x[c];
  if (sum == -1.0f) __trap();  // never: the result must look used
}

constexpr int multiply_add_rounds = 4096, exp_rounds = 512;
__global__ void __launch_bounds__(threads) multiply_adds(float a, float b) {
  repeat<multiply_add_rounds>([=](float x) { return fmaf(x, a, b); });
}
// The numbers soon are infinite, which costs no more and no less.
__global__ void __launch_bounds__(threads) exps() {
  repeat<exp_rounds>([](float x) { return fast_exp2(x); });
}

__global__ void wait_nanoseconds(uint64_t nanoseconds) {
  if (nanoseconds == 0) return;
  auto now = [] {
    uint64_t t;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(t));
    return t;
  };
  for (const uint64_t start = now(); now() - start < nanoseconds;) __nanosleep(1000);
}

double operations(unsigned blocks, int rounds) {
  return static_cast<double>(blocks) * threads * chains * rounds;
}

}  // namespace

void launch_copy(void* to, const void* from, size_t bytes, unsigned blocks, Stream stream) {
  copy_words<<<blocks, threads, 0, stream>>>(static_cast<uint4*>(to),
                                             static_cast<const uint4*>(from), bytes / 16);
  KRAIT_CUDA_CHECK(cudaGetLastError());
}
double launch_multiply_adds(const Device& device, Stream stream) {
  const unsigned blocks = device.multiprocessors * blocks_each;
  multiply_adds<<<blocks, threads, 0, stream>>>(0.5f, 1.0f);
  KRAIT_CUDA_CHECK(cudaGetLastError());
  return operations(blocks, multiply_add_rounds);
}
double launch_exps(const Device& device, Stream stream) {
  const unsigned blocks = device.multiprocessors * blocks_each;
  exps<<<blocks, threads, 0, stream>>>();
  KRAIT_CUDA_CHECK(cudaGetLastError());
  return operations(blocks, exp_rounds);
}
void launch_wait(double seconds, Stream stream) {
  wait_nanoseconds<<<1, 1, 0, stream>>>(static_cast<uint64_t>(seconds * 1e9));
  KRAIT_CUDA_CHECK(cudaGetLastError());
}

}  // namespace krait
