// The definition of the depthwise convolution: plain loops. A side that is reversed is walked from
// the last token to the first; in the order of the walk both sides are causal.
#include <vector>

#include "kernels/conv1d/rows.h"
#include "kernels/elementwise/elementwise.h"

namespace krait {
namespace {

// The q of walk position i, for one image and channel. x0: the image's first token.
template <class T, class A, class Side>
A q_at(const Side& s, const T* x0, int64_t x_row, int64_t L, int K, int64_t e, int64_t i) {
  A q = s.b ? static_cast<const A*>(s.b)[e] : A(0);
  for (int k = 0; k < K; ++k) {
    const int64_t j = i - (K - 1) + k;
    if (j < 0) continue;
    const int64_t t = s.reverse ? L - 1 - j : j;
    q += static_cast<const A*>(s.w)[e * K + k] * A(x0[t * x_row + e]);
  }
  return q;
}

}  // namespace

void conv1d_fwd_reference(const Conv1dFwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    for (int n = 0; n < p.sides; ++n) {
      const auto& s = p.side[n];
      for (int64_t b = 0; b < p.B; ++b)
        for (int64_t i = 0; i < p.L; ++i)
          for (int64_t e = 0; e < p.E; ++e) {
            const T* x0 = static_cast<const T*>(p.x) + b * p.L * p.x_row;
            const A q = q_at<T, A>(s, x0, p.x_row, p.L, p.K, e, i);
            const int64_t t = s.reverse ? p.L - 1 - i : i;
            static_cast<T*>(s.y)[(b * p.L + t) * p.E + e] = T(p.silu ? Silu::value(q) : q);
          }
    }
  });
}

void conv1d_bwd_reference(const Conv1dBwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    const int K = p.K;
    std::vector<A> dx(p.L);  // of one image and channel
    for (int64_t b = 0; b < p.B; ++b)
      for (int64_t e = 0; e < p.E; ++e) {
        const T* x0 = static_cast<const T*>(p.x) + b * p.L * p.x_row;
        dx.assign(p.L, A(0));
        for (int n = 0; n < p.sides; ++n) {
          const auto& s = p.side[n];
          if (!s.dy) continue;
          for (int64_t i = 0; i < p.L; ++i) {
            const int64_t t = s.reverse ? p.L - 1 - i : i;
            A dq = A(static_cast<const T*>(s.dy)[(b * p.L + t) * p.E + e]);
            if (p.silu) dq *= Silu::slope(q_at<T, A>(s, x0, p.x_row, p.L, K, e, i));
            for (int k = 0; k < K; ++k) {
              const int64_t j = i - (K - 1) + k;
              if (j < 0) continue;
              const int64_t from = s.reverse ? p.L - 1 - j : j;
              dx[from] += static_cast<const A*>(s.w)[e * K + k] * dq;
              if (s.dw) static_cast<A*>(s.dw)[e * K + k] += dq * A(x0[from * p.x_row + e]);
            }
            if (s.db) static_cast<A*>(s.db)[e] += dq;
          }
        }
        if (!p.dx) continue;
        for (int64_t t = 0; t < p.L; ++t) {
          T& to = static_cast<T*>(p.dx)[(b * p.L + t) * p.dx_row + e];
          to = T(p.accumulate_dx ? A(to) + dx[t] : dx[t]);
        }
      }
  });
}

}  // namespace krait
