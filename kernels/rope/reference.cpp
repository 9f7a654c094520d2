// The definition of rope: plain loops.
#include "kernels/rope/rows.h"

namespace krait {

void rope_reference(const RopeFwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    const int64_t still = p.L - p.P;  // tokens that are not rotated
    for (int64_t b = 0; b < p.B; ++b)
      for (int64_t t = 0; t < p.L; ++t) {
        const T* x = static_cast<const T*>(p.x) + (b * p.L + t) * p.D;
        T* y = static_cast<T*>(p.y) + (b * p.L + t) * p.D;
        for (int64_t d = 0; d < p.D; d += 2) {
          A c = 1, s = 0;
          if (t >= still) {
            c = static_cast<const A*>(p.cos)[(t - still) * p.D + d];
            s = static_cast<const A*>(p.sin)[(t - still) * p.D + d];
          }
          if (p.inverse) s = -s;
          const A x0 = A(x[d]), x1 = A(x[d + 1]);
          const A y0 = x0 * c - x1 * s, y1 = x1 * c + x0 * s;
          y[d] = T(p.accumulate ? A(y[d]) + y0 : y0);
          y[d + 1] = T(p.accumulate ? A(y[d + 1]) + y1 : y1);
        }
      }
  });
}

}  // namespace krait
