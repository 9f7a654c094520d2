// A thread writes every (grid size)-th element.
#include "kernels/common/device/dispatch.cuh"
#include "kernels/fill/fill.h"

namespace krait {
namespace {

template <class T>
__global__ void fill(Fill p, T value) {
  const int64_t n = p.rows * p.width, step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += step)
    static_cast<T*>(p.y)[p.row == p.width ? i : i / p.width * p.row + i % p.width] = value;
}

}  // namespace

void fill_grid_stride(const Fill& p, const Launch& l) {
  const unsigned blocks = blocks_for(p.rows * p.width, 256, 4096);
  if (p.dtype == DType::i32)
    fill<int32_t><<<blocks, 256, 0, l.stream>>>(p, static_cast<int32_t>(p.value));
  else if (p.dtype == DType::u8)
    fill<uint8_t><<<blocks, 256, 0, l.stream>>>(p, static_cast<uint8_t>(p.value));
  else
    dispatch_gpu(p.dtype, [&]<class T>() {
      fill<T><<<blocks, 256, 0, l.stream>>>(p, T(static_cast<float>(p.value)));
    });
}

}  // namespace krait
