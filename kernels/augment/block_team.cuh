// A team that is a block of threads.
#pragma once

#include "kernels/augment/team.h"

namespace krait {

struct Block {
#ifdef __CUDA_ARCH__
  __device__ int rank() const {
    return static_cast<int>(threadIdx.x);
  }
  __device__ int size() const {
    return static_cast<int>(blockDim.x);
  }
  __device__ void sync() const {
    __syncthreads();
  }
  __device__ void add(int32_t* to, int32_t v) const {
    atomicAdd(to, v);
  }  // whole numbers
#else
  // Never run: what the host's compiler sees of a template for both.
  KRAIT_HD int rank() const {
    return 0;
  }
  KRAIT_HD int size() const {
    return 1;
  }
  KRAIT_HD void sync() const {}
  KRAIT_HD void add(int32_t*, int32_t) const {}
#endif
  template <class F>
  KRAIT_HD void each_pixel(int height, int width, F f) const {  // f(y, x), in any order
    for (int i = rank(); i < height * width; i += size()) f(i / width, i % width);
  }
};

}  // namespace krait
