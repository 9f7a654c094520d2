// The definition of the matrix product: three loops.
#include "kernels/matmul/rows.h"

namespace krait {

void matmul_reference(const Matmul& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    dispatch_float(p.c_dtype, [&]<class U>() {
      using A = accum_t<T>;
      const T* a = static_cast<const T*>(p.a);
      const T* b = static_cast<const T*>(p.b);
#pragma omp parallel for schedule(static)
      for (int64_t i = 0; i < p.m; ++i)
        for (int64_t j = 0; j < p.n; ++j) {
          U& c = static_cast<U*>(p.c)[i * p.c_row + j];
          A s = p.accumulate ? static_cast<A>(c) : A(0);
          for (int64_t l = 0; l < p.k; ++l)
            s += A(a[p.trans_a ? l * p.a_row + i : i * p.a_row + l]) *
                 A(b[p.trans_b ? j * p.b_row + l : l * p.b_row + j]);
          c = U(static_cast<accum_t<U>>(s));
        }
    });
  });
}

}  // namespace krait
