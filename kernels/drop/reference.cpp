// The definition of drop: a plain loop.
#include "kernels/drop/rows.h"

namespace krait {

void drop_reference(const Drop& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    const A scale = A(1) / (A(1) - A(p.p));
    for (int64_t i = 0; i < p.n; ++i) {
      const A v = keeps(p, *p.state, i / p.group) ? A(static_cast<const T*>(p.x)[i]) * scale : A(0);
      T& y = static_cast<T*>(p.y)[i];
      y = T(p.accumulate ? A(y) + v : v);
    }
  });
}

}  // namespace krait
