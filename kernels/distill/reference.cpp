// The definitions, and the same loops over several threads.
#include "kernels/distill/rows.h"

namespace krait {
namespace {

// What the sum over images is multiplied by.
double scale_of(const KlFwd& p) {
  return p.tau * p.tau / (static_cast<double>(p.B) * static_cast<double>(p.C));
}
template <class A>
A scale_of(const KlBwd& p) {
  const double scale = p.tau / (static_cast<double>(p.B) * static_cast<double>(p.C));
  return *static_cast<const A*>(p.dloss) * A(scale);
}

}  // namespace

void kl_fwd_reference(const KlFwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    double sum = 0;
    for (int64_t b = 0; b < p.B; ++b) sum += static_cast<double>(kl_of_image<T, A>(p, b));
    *static_cast<A*>(p.loss) = static_cast<A>(sum * scale_of(p));
  });
}
void kl_bwd_reference(const KlBwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    const A scale = scale_of<A>(p);
    for (int64_t b = 0; b < p.B; ++b) kl_gradient<T, A>(p, scale, b);
  });
}
void logit_targets_reference(const LogitTargets& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    for (int64_t b = 0; b < p.B; ++b) targets_of_row<T, accum_t<T>>(p, b);
  });
}

size_t kl_fwd_image_sums(const KlFwd& p) {
  return p.B * sizeof(double);
}
// One sum per image, then the images in order: the result does not depend on the threads.
void kl_fwd_openmp(const KlFwd& p, const Launch& l) {
  double* const image = static_cast<double*>(l.scratch);  // (B)
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < p.B; ++b) image[b] = static_cast<double>(kl_of_image<T, A>(p, b));
    double sum = 0;
    for (int64_t b = 0; b < p.B; ++b) sum += image[b];
    *static_cast<A*>(p.loss) = static_cast<A>(sum * scale_of(p));
  });
}
void kl_bwd_openmp(const KlBwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    const A scale = scale_of<A>(p);
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < p.B; ++b) kl_gradient<T, A>(p, scale, b);
  });
}
void logit_targets_openmp(const LogitTargets& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < p.B; ++b) targets_of_row<T, accum_t<T>>(p, b);
  });
}

}  // namespace krait
