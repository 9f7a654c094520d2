// GPU row that is easy to read: 16 x 16 tiles through shared memory (the yardstick is cublaslt; see
// "How to Optimize a CUDA Matmul Kernel", kernel 3). It also takes sizes cuBLASLt refuses.
#include "kernels/common/device/dispatch.cuh"
#include "kernels/matmul/rows.h"

namespace krait {
namespace {

constexpr int tile = 16;

// A block owns a 16 x 16 tile of C, a thread one element; k is walked 16 at a time.
template <class T, class U>
__global__ void tiles(Matmul p) {
  __shared__ float a[tile][tile + 1], b[tile][tile + 1];
  const int x = threadIdx.x, y = threadIdx.y;
  const int64_t i = int64_t{blockIdx.y} * tile + y, j = int64_t{blockIdx.x} * tile + x;
  float sum = 0;
  for (int64_t l0 = 0; l0 < p.k; l0 += tile) {
    const int64_t la = l0 + x, lb = l0 + y;
    a[y][x] =
        i < p.m && la < p.k
            ? float(static_cast<const T*>(p.a)[p.trans_a ? la * p.a_row + i : i * p.a_row + la])
            : 0.0f;
    b[y][x] =
        j < p.n && lb < p.k
            ? float(static_cast<const T*>(p.b)[p.trans_b ? j * p.b_row + lb : lb * p.b_row + j])
            : 0.0f;
    __syncthreads();
    float part = 0;  // so that a long sum is one of parts, and rounds less
    for (int l = 0; l < tile; ++l) part += a[y][l] * b[l][x];
    sum += part;
    __syncthreads();
  }
  if (i < p.m && j < p.n) {
    U& c = static_cast<U*>(p.c)[i * p.c_row + j];
    c = U(p.accumulate ? float(c) + sum : sum);
  }
}

}  // namespace

bool matmul_tiles_supports(const Matmul& p, const Device&) {
  return p.m <= 65535 * tile;
}
void matmul_tiles(const Matmul& p, const Launch& l) {
  dispatch_gpu(p.dtype, [&]<class T>() {
    dispatch_gpu(p.c_dtype, [&]<class U>() {
      tiles<T, U>
          <<<dim3(blocks_for(p.n, tile), blocks_for(p.m, tile)), dim3(tile, tile), 0, l.stream>>>(
              p);
    });
  });
}

}  // namespace krait
