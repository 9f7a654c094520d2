// The definition of binary cross-entropy, and the same loops over several threads.
#include "kernels/bce/rows.h"

namespace krait {
namespace {

template <class P>
double scale_of(const P& p) {
  return 1.0 / (static_cast<double>(p.B) * static_cast<double>(p.C));
}

}  // namespace

void bce_fwd_reference(const BceFwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    double sum = 0;
    for (int64_t b = 0; b < p.B; ++b) sum += static_cast<double>(bce_of_image<T, A>(p, b));
    *static_cast<A*>(p.loss) = static_cast<A>(sum * scale_of(p));
  });
}
void bce_bwd_reference(const BceBwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    const A scale = *static_cast<const A*>(p.dloss) * A(scale_of(p));
    for (int64_t i = 0; i < p.B * p.C; ++i) bce_gradient<T, A>(p, scale, i);
  });
}

size_t bce_fwd_image_sums(const BceFwd& p) {
  return p.B * sizeof(double);
}
// One sum per image, then the images in order: the result does not depend on the threads.
void bce_fwd_openmp(const BceFwd& p, const Launch& l) {
  double* const image = static_cast<double*>(l.scratch);  // (B)
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < p.B; ++b) image[b] = static_cast<double>(bce_of_image<T, A>(p, b));
    double sum = 0;
    for (int64_t b = 0; b < p.B; ++b) sum += image[b];
    *static_cast<A*>(p.loss) = static_cast<A>(sum * scale_of(p));
  });
}
void bce_bwd_openmp(const BceBwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    const A scale = *static_cast<const A*>(p.dloss) * A(scale_of(p));
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < p.B * p.C; ++i) bce_gradient<T, A>(p, scale, i);
  });
}

}  // namespace krait
