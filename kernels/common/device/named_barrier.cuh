// A barrier for some of a block's warps (PTX ISA, barrier.sync). Number 0 is that of __syncthreads.
#pragma once

namespace krait {

template <int number, int threads>
__device__ __forceinline__ void sync_some() {
  asm volatile("barrier.sync %0, %1;" ::"n"(number), "n"(threads) : "memory");
}

}  // namespace krait
