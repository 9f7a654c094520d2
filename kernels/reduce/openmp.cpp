// CPU rows: rows are divided among threads. Column sums are added up in a fixed number of slices of
// the rows, and the slices in order, so the result does not depend on the number of threads.
#include "kernels/reduce/rows.h"

namespace krait {
namespace {
constexpr int64_t slices = 32;
constexpr int64_t alone = 1 << 14;  // so few elements are not worth a second thread
}  // namespace

void add_bias_openmp(const AddBias& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    const A* b = static_cast<const A*>(p.b);
#pragma omp parallel for schedule(static) if (p.rows * p.D > alone)
    for (int64_t r = 0; r < p.rows; ++r) {
      T* y = static_cast<T*>(p.y) + r * p.row;
      for (int64_t d = 0; d < p.D; ++d) y[d] = T(A(y[d]) + b[d]);
    }
  });
}

size_t column_sum_openmp_scratch(const ColumnSum& p) {
  return slices * p.D * size_of(accum(p.dtype));
}
void column_sum_openmp(const ColumnSum& p, const Launch& l) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    A* sum = static_cast<A*>(p.sum);
    A* parts = static_cast<A*>(l.scratch);  // (slices, D)
    const int64_t per = (p.rows + slices - 1) / slices;
#pragma omp parallel for schedule(static) if (p.rows * p.D > alone)
    for (int64_t s = 0; s < slices; ++s) {
      A* part = parts + s * p.D;
      for (int64_t d = 0; d < p.D; ++d) part[d] = 0;
      for (int64_t r = s * per; r < (s + 1) * per && r < p.rows; ++r) {
        const T* x = static_cast<const T*>(p.x) + r * p.row;
        for (int64_t d = 0; d < p.D; ++d) part[d] += A(x[d]);
      }
    }
    for (int64_t s = 0; s < slices; ++s)
      for (int64_t d = 0; d < p.D; ++d) sum[d] += parts[s * p.D + d];
  });
}

}  // namespace krait
