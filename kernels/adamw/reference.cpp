// The definition of AdamW, and the same loop over several threads.
#include <algorithm>

#include "kernels/adamw/rows.h"

namespace krait {
namespace {

// Elements [from, to).
template <class T>
void update(const AdamW& p, int64_t from, int64_t to) {
  using A = accum_t<T>;
  const AdamWStep<A> step(p);
  A* const master = static_cast<A*>(p.master);
  A* const grad = static_cast<A*>(p.grad);
  A* const m = static_cast<A*>(p.m);
  A* const v = static_cast<A*>(p.v);
  A* const ema = static_cast<A*>(p.ema);
  T* const copy = static_cast<T*>(p.copy);
  if (step.active) {
    // Pieces of one rate, and two loops in each: none has a branch.
    for (int64_t first = from, last; first < to; first = last) {
      last = p.rates ? std::min(to, (first / rate_span + 1) * rate_span) : to;
      const A rate(rate_at(p.rates, first));
      const int64_t middle = std::clamp(p.n_decay, first, last);
#pragma omp simd
      for (int64_t i = first; i < middle; ++i) step(master[i], grad[i], m[i], v[i], true, rate);
#pragma omp simd
      for (int64_t i = middle; i < last; ++i) step(master[i], grad[i], m[i], v[i], false, rate);
    }
    if (ema)
      for (int64_t i = from; i < to; ++i) step.average(ema[i], master[i]);
    if (copy)
      for (int64_t i = from; i < to; ++i) copy[i] = T(master[i]);
  }
  if (p.zero_grad) std::fill(grad + from, grad + to, A(0));
}

}  // namespace

void adamw_reference(const AdamW& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() { update<T>(p, 0, p.n); });
}

// An element is computed by one thread, so their number does not matter.
void adamw_openmp(const AdamW& p, const Launch&) {
  constexpr int64_t piece = 1 << 13;  // its parts of all blocks stay in the first cache
#pragma omp parallel for schedule(static)
  for (int64_t from = 0; from < p.n; from += piece)
    dispatch_float(p.dtype, [&]<class T>() { update<T>(p, from, std::min(from + piece, p.n)); });
}

}  // namespace krait
