// The definition of the transposition, and the CPU row: the same loops, images shared out to
// threads.
#include "kernels/transpose/rows.h"

namespace krait {
namespace {

template <class T>
void image(const Transpose& p, int64_t b) {
  using A = accum_t<T>;
  const int64_t count = p.M * p.N * p.K;
  const T* x = static_cast<const T*>(p.x) + b * count;
  T* y = static_cast<T*>(p.y) + b * count;
  for (int64_t j = 0; j < p.N; ++j)
    for (int64_t i = 0; i < p.M; ++i)
      for (int64_t k = 0; k < p.K; ++k) {
        const T from = x[(i * p.N + j) * p.K + k];
        T& to = y[(j * p.M + i) * p.K + k];
        to = p.accumulate ? T(A(to) + A(from)) : from;
      }
}

}  // namespace

void transpose_reference(const Transpose& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    for (int64_t b = 0; b < p.B; ++b) image<T>(p, b);
  });
}

void transpose_openmp(const Transpose& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < p.B; ++b) image<T>(p, b);
  });
}

}  // namespace krait
