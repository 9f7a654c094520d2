// CPU row: the reference's loops, images divided among threads. Each element is computed by one
// thread, so the result does not depend on their number.
#include "kernels/rope/rows.h"

namespace krait {

void rope_openmp(const RopeFwd& p, const Launch& l) {
  constexpr int64_t alone = 1 << 14;  // so few elements are not worth a second thread
  const int64_t image = p.L * p.D * static_cast<int64_t>(size_of(p.dtype));  // bytes
#pragma omp parallel for schedule(static) if (p.B * p.L * p.D > alone)
  for (int64_t b = 0; b < p.B; ++b) {
    RopeFwd q = p;
    q.B = 1;
    q.x = static_cast<const std::byte*>(p.x) + b * image;
    q.y = static_cast<std::byte*>(p.y) + b * image;
    rope_reference(q, l);
  }
}

}  // namespace krait
