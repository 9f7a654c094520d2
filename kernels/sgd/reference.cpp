// The definition of SGD, and the same loop over several threads.
#include <algorithm>

#include "kernels/sgd/rows.h"

namespace krait {
namespace {

// Elements [from, to).
template <class T>
void update(const Sgd& p, int64_t from, int64_t to) {
  using A = accum_t<T>;
  const SgdStep<A> step(p);
  A* const master = static_cast<A*>(p.master);
  A* const grad = static_cast<A*>(p.grad);
  A* const m = static_cast<A*>(p.m);
  A* const ema = static_cast<A*>(p.ema);
  T* const copy = static_cast<T*>(p.copy);
  if (step.active) {
    for (int64_t i = from; i < to; ++i)
      step(master[i], grad[i], m[i], i < p.n_decay, A(rate_at(p.rates, i)));
    if (ema)
      for (int64_t i = from; i < to; ++i) step.average(ema[i], master[i]);
    if (copy)
      for (int64_t i = from; i < to; ++i) copy[i] = T(master[i]);
  }
  std::fill(grad + from, grad + to, A(0));
}

}  // namespace

void sgd_reference(const Sgd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() { update<T>(p, 0, p.n); });
}

// An element is computed by one thread, so their number does not matter.
void sgd_openmp(const Sgd& p, const Launch&) {
  constexpr int64_t piece = 1 << 13;  // its parts of all blocks stay in the first cache
#pragma omp parallel for schedule(static)
  for (int64_t from = 0; from < p.n; from += piece)
    dispatch_float(p.dtype, [&]<class T>() { update<T>(p, from, std::min(from + piece, p.n)); });
}

}  // namespace krait
