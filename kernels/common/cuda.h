// Only for files that need the CUDA runtime. Empty in a CPU-only build.
#pragma once
#if KRAIT_CUDA
#include <cuda_runtime.h>

#include "kernels/common/error.h"

#define KRAIT_CUDA_CHECK(call)                                                   \
  do {                                                                           \
    cudaError_t krait_status = (call);                                           \
    if (krait_status != cudaSuccess)                                             \
      ::krait::fail(__FILE__, __LINE__,                                          \
                    ::krait::cat(#call ": ", cudaGetErrorString(krait_status))); \
  } while (0)
#endif
