// The definition of add_bias and column_sum: plain loops.
#include "kernels/reduce/rows.h"

namespace krait {

void add_bias_reference(const AddBias& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    for (int64_t r = 0; r < p.rows; ++r)
      for (int64_t d = 0; d < p.D; ++d) {
        T& y = static_cast<T*>(p.y)[r * p.row + d];
        y = T(A(y) + static_cast<const A*>(p.b)[d]);
      }
  });
}

void column_sum_reference(const ColumnSum& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    for (int64_t r = 0; r < p.rows; ++r)
      for (int64_t d = 0; d < p.D; ++d)
        static_cast<A*>(p.sum)[d] += A(static_cast<const T*>(p.x)[r * p.row + d]);
  });
}

}  // namespace krait
