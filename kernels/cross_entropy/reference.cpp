// The definition of cross_entropy: plain loops.
#include <cmath>

#include "kernels/cross_entropy/rows.h"

namespace krait {
namespace {

// log sum_c exp(x[c]), with the largest taken out so that nothing overflows.
template <class A, class T>
A log_sum_exp(const T* x, int64_t C) {
  A most = A(x[0]), sum = 0;
  for (int64_t c = 1; c < C; ++c) most = A(x[c]) > most ? A(x[c]) : most;
  for (int64_t c = 0; c < C; ++c) sum += std::exp(A(x[c]) - most);
  return most + std::log(sum);
}

}  // namespace

void cross_entropy_fwd_reference(const CrossEntropyFwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    double sum = 0;
    int64_t top1 = 0, top5 = 0;
    for (int64_t b = 0; b < p.B; ++b) {
      const T* x = static_cast<const T*>(p.logits) + b * p.C;
      const A* t = static_cast<const A*>(p.targets) + b * p.C;
      const A lse = log_sum_exp<A>(x, p.C);
      A loss = 0;
      int64_t label = 0, rank = 0;
      for (int64_t c = 0; c < p.C; ++c) {
        loss += t[c] * (lse - A(x[c]));
        if (t[c] > t[label]) label = c;
      }
      for (int64_t c = 0; c < p.C; ++c)  // a logit that is not a number ranks above all others
        if (!(A(x[c]) <= A(x[label])) || (A(x[c]) == A(x[label]) && c < label)) ++rank;
      sum += static_cast<double>(loss);
      top1 += rank < 1;
      top5 += rank < 5;
      if (!p.predictions) continue;
      int64_t guess = 0;
      for (int64_t c = 1; c < p.C; ++c)
        if (A(x[c]) > A(x[guess]) || std::isnan(A(x[guess]))) guess = c;
      p.predictions[(p.state ? p.state->first : 0) + b] = {
          .label = std::isnan(A(x[guess])) ? -1 : static_cast<int32_t>(guess),
          .probability = static_cast<float>(std::exp(A(x[guess]) - lse)),
          .loss = static_cast<float>(loss)};
    }
    *static_cast<A*>(p.loss) = static_cast<A>(sum / static_cast<double>(p.B));
    if (p.totals) {
      p.totals->loss += sum;
      p.totals->count += p.B;
      p.totals->top1 += top1;
      p.totals->top5 += top5;
    }
  });
}

void cross_entropy_bwd_reference(const CrossEntropyBwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    const A scale = *static_cast<const A*>(p.dloss) / A(p.B);
    for (int64_t b = 0; b < p.B; ++b) {
      const T* x = static_cast<const T*>(p.logits) + b * p.C;
      const A* t = static_cast<const A*>(p.targets) + b * p.C;
      T* dx = static_cast<T*>(p.dlogits) + b * p.C;
      const A lse = log_sum_exp<A>(x, p.C);
      A all = 0;
      for (int64_t c = 0; c < p.C; ++c) all += t[c];
      for (int64_t c = 0; c < p.C; ++c) {
        const A g = scale * (std::exp(A(x[c]) - lse) * all - t[c]);
        dx[c] = T(p.accumulate ? A(dx[c]) + g : g);
      }
    }
  });
}

}  // namespace krait
