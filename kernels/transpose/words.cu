// GPU row. A thread owns every (grid size)-th word of y: 16 bytes where K is a multiple of so many,
// else one element.
#include "kernels/common/device/dispatch.cuh"
#include "kernels/transpose/rows.h"

namespace krait {
namespace {

constexpr int threads = 256;
constexpr int64_t most_blocks = 8192;

// Where in x the element `at` of y comes from. K in words.
template <class Index>
__device__ int64_t source(Index at, Index M, Index N, Index K) {
  const Index row = at / K, k = at - row * K, column = row / M, i = row - column * M;
  const Index b = column / N, j = column - b * N;
  return ((int64_t(b) * M + i) * N + j) * K + k;
}

template <class Index, class Word>
__global__ void move(Transpose p, int64_t K, const Word* x, Word* y) {
  KRAIT_GRID_STRIDE(at, p.B * p.M * p.N * K)
  y[at] = x[source(Index(at), Index(p.M), Index(p.N), Index(K))];
}
template <class Index, class T>
__global__ void add(Transpose p, const T* x, T* y) {
  KRAIT_GRID_STRIDE(at, p.B * p.M * p.N * p.K)
  y[at] = T(float(y[at]) + float(x[source(Index(at), Index(p.M), Index(p.N), Index(p.K))]));
}

}  // namespace

void transpose_words(const Transpose& p, const Launch& l) {
  const int64_t count = p.B * p.M * p.N * p.K;
  const bool few = count < int64_t{1} << 31;  // 32 bits are divided several times faster
  const unsigned blocks = blocks_for(count, threads, most_blocks);
  const bool aligned =
      reinterpret_cast<uintptr_t>(p.x) % 16 == 0 && reinterpret_cast<uintptr_t>(p.y) % 16 == 0;
  dispatch_gpu(p.dtype, [&]<class T>() {
    constexpr int64_t unit = 16 / sizeof(T);
    auto run = [&]<class Index>() {
      if (p.accumulate) {
        add<Index, T>
            <<<blocks, threads, 0, l.stream>>>(p, static_cast<const T*>(p.x), static_cast<T*>(p.y));
      } else if (aligned && p.K % unit == 0) {
        move<Index, uint4>
            <<<blocks_for(count / unit, threads, most_blocks), threads, 0, l.stream>>>(
                p, p.K / unit, static_cast<const uint4*>(p.x), static_cast<uint4*>(p.y));
      } else {
        move<Index, T><<<blocks, threads, 0, l.stream>>>(p, p.K, static_cast<const T*>(p.x),
                                                         static_cast<T*>(p.y));
      }
    };
    if (few)
      run.template operator()<uint32_t>();
    else
      run.template operator()<int64_t>();
  });
}

}  // namespace krait
