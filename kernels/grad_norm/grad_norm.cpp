// The definition of the gradient's norm, the same over several threads, the table and the cases.
#include "kernels/grad_norm/grad_norm.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/case.h"

namespace krait {
namespace {

// Sum of squares of elements [from, to), in double.
double sum_of_squares(const GradNorm& p, int64_t from, int64_t to) {
  double sum = 0;
  dispatch_float(p.dtype, [&]<class T>() {
    const T* g = static_cast<const T*>(p.grad);
#pragma omp simd reduction(+ : sum)
    for (int64_t i = from; i < to; ++i) sum += double(g[i]) * double(g[i]);
  });
  return sum;
}

void finish(const GradNorm& p, double sum) {
  const double norm = std::sqrt(sum);
  p.result->grad_norm = static_cast<float>(norm);
  if (p.recovers) p.result->halted = 0;
  if (!std::isfinite(p.result->grad_norm)) p.result->halted = 1;
  if (p.norm)
    dispatch_float(p.dtype,
                   [&]<class T>() { *static_cast<T*>(p.norm) = T(static_cast<accum_t<T>>(norm)); });
}

constexpr int64_t piece = 1 << 14;
int64_t pieces(const GradNorm& p) {
  return (p.n + piece - 1) / piece;
}

}  // namespace

void grad_norm_reference(const GradNorm& p, const Launch&) {
  finish(p, sum_of_squares(p, 0, p.n));
}

// One sum per piece, then the pieces in order: the result does not depend on the threads.
void grad_norm_openmp(const GradNorm& p, const Launch& l) {
  double* part = static_cast<double*>(l.scratch);
  const int64_t n = pieces(p);
#pragma omp parallel for schedule(static)
  for (int64_t k = 0; k < n; ++k)
    part[k] = sum_of_squares(p, k * piece, std::min((k + 1) * piece, p.n));
  double sum = 0;
  for (int64_t k = 0; k < n; ++k) sum += part[k];
  finish(p, sum);
}
size_t grad_norm_openmp_scratch(const GradNorm& p) {
  return pieces(p) * sizeof(double);
}

template <>
std::span<const Variant<GradNorm>> variants<GradNorm>() {
  static constexpr Variant<GradNorm> table[] = {
#if KRAIT_CUDA
    {"two_pass", Backend::cuda, grad_norm_two_pass, grad_norm_two_pass_fits,
     grad_norm_two_pass_scratch},
#endif
    {"openmp", Backend::cpu, grad_norm_openmp, nullptr, grad_norm_openmp_scratch},
    {"reference", Backend::cpu, grad_norm_reference},
  };
  return table;
}

void add_grad_norm_cases(CaseList& list) {
  for (int64_t n : {1, 31, 999, 70000, 6796800})
    list.push_back(
        make_case<GradNorm>({.size = cat("n=", n), .cost = {4.0 * n, 2.0 * n}, .small = n < 100000},
                            [=](CaseMemory& m) {
                              return GradNorm{.dtype = m.dtype(),
                                              .n = n,
                                              .grad = m.in("grad", n, -1, 1),
                                              .result = m.raw(StepResult{}),
                                              .norm = m.out("norm", 1)};
                            }));
}

}  // namespace krait
