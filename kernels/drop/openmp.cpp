// CPU row: groups are divided among threads; a group's choice is drawn once.
#include "kernels/drop/rows.h"

namespace krait {

void drop_openmp(const Drop& p, const Launch&) {
  constexpr int64_t alone = 1 << 12;  // so few elements are not worth a second thread
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    const A scale = A(1) / (A(1) - A(p.p));
    const int64_t groups = (p.n + p.group - 1) / p.group;
#pragma omp parallel for schedule(static) if (p.n > alone)
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t from = g * p.group, left = p.n - from;
      const int64_t count = left < p.group ? left : p.group;
      const T* x = static_cast<const T*>(p.x) + from;
      T* y = static_cast<T*>(p.y) + from;
      const bool keep = keeps(p, *p.state, g);
      if (keep && p.accumulate)
        for (int64_t i = 0; i < count; ++i) y[i] = T(A(y[i]) + A(x[i]) * scale);
      else if (keep)
        for (int64_t i = 0; i < count; ++i) y[i] = T(A(x[i]) * scale);
      else if (!p.accumulate)
        for (int64_t i = 0; i < count; ++i) y[i] = T(A(0));
    }
  });
}

}  // namespace krait
