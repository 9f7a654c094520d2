// The definition of attention: plain loops.
#include <cmath>
#include <vector>

#include "kernels/attention/rows.h"

namespace krait {
namespace {

template <class T>
accum_t<T> dot(const T* a, const T* b, int64_t d) {
  accum_t<T> s = 0;
  for (int64_t k = 0; k < d; ++k) s += accum_t<T>(a[k]) * accum_t<T>(b[k]);
  return s;
}

template <class P, class F>
void for_each_head(const P& p, F&& f) {
  for (int64_t b = 0; b < p.B; ++b)
    for (int64_t h = 0; h < p.heads; ++h) f(Head<P>{b, h});
}

}  // namespace

void attention_fwd_reference(const AttentionFwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    for_each_head(p, [&](auto head) {
      const int64_t W = head.width(p), row = head.qkv_row(p);
      const T* q = static_cast<const T*>(p.qkv) + head.qkv(p);
      T* y = static_cast<T*>(p.y) + head.y(p);
      std::vector<A> s(p.L), sum(p.d);
      for (int64_t i = 0; i < p.L; ++i) {
        A most = -INFINITY, total = 0;
        for (int64_t j = 0; j < p.L; ++j) {
          s[j] = A(p.scale) * dot(q + i * row, q + W + j * row, p.d);
          most = std::max(most, s[j]);
        }
        for (int64_t j = 0; j < p.L; ++j) total += s[j] = std::exp(s[j] - most);
        sum.assign(p.d, 0);
        for (int64_t j = 0; j < p.L; ++j)
          for (int64_t k = 0; k < p.d; ++k) sum[k] += s[j] * A(q[2 * W + j * row + k]);
        for (int64_t k = 0; k < p.d; ++k) y[i * W + k] = T(sum[k] / total);
        if (p.lse) static_cast<A*>(p.lse)[head.lse(p) + i] = most + std::log(total);
      }
    });
  });
}

void attention_bwd_reference(const AttentionBwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    for_each_head(p, [&](auto head) {
      const int64_t W = head.width(p), row = head.qkv_row(p);
      const T* q = static_cast<const T*>(p.qkv) + head.qkv(p);
      const T* y = static_cast<const T*>(p.y) + head.y(p);
      const T* dy = static_cast<const T*>(p.dy) + head.y(p);
      const A* lse = static_cast<const A*>(p.lse) + head.lse(p);
      std::vector<A> d(3 * p.L * p.d);  // (3, L, d): dq, dk, dv
      A *dq = d.data(), *dk = dq + p.L * p.d, *dv = dk + p.L * p.d;
      for (int64_t i = 0; i < p.L; ++i) {
        const A delta = dot(dy + i * W, y + i * W, p.d);
        for (int64_t j = 0; j < p.L; ++j) {
          const T *qi = q + i * row, *kj = q + W + j * row, *vj = q + 2 * W + j * row;
          const A prob = std::exp(A(p.scale) * dot(qi, kj, p.d) - lse[i]);
          const A ds = A(p.scale) * prob * (dot(dy + i * W, vj, p.d) - delta);
          for (int64_t k = 0; k < p.d; ++k) {
            dq[i * p.d + k] += ds * A(kj[k]);
            dk[j * p.d + k] += ds * A(qi[k]);
            dv[j * p.d + k] += prob * A(dy[i * W + k]);
          }
        }
      }
      T* to = static_cast<T*>(p.dqkv) + head.qkv(p);
      for (int64_t part = 0; part < 3; ++part)
        for (int64_t i = 0; i < p.L; ++i)
          for (int64_t k = 0; k < p.d; ++k) {
            T& g = to[i * row + part * W + k];
            const A own = d[(part * p.L + i) * p.d + k];
            g = T(p.accumulate ? A(g) + own : own);
          }
    });
  });
}

}  // namespace krait
