// The definition of add_norm: plain loops.
#include <cmath>

#include "kernels/norm/rows.h"

namespace krait {
namespace {

// Element d of row r of `sum` turned by its angle (direction 1) or back (-1).
template <class A, class F>
A rotated(const Rotation& rotation, int64_t r, int64_t D, int64_t d, int direction, F&& sum) {
  const int64_t t = table_row(rotation, r);
  if (t < 0) return sum(d);
  const int64_t at = t * D + d / 2 * 2;
  const A c = static_cast<const A*>(rotation.cos)[at];
  const A s = static_cast<const A*>(rotation.sin)[at] * A(direction);
  return d % 2 == 0 ? sum(d) * c - sum(d + 1) * s : sum(d) * c + sum(d - 1) * s;
}

}  // namespace

void add_norm_fwd_reference(const AddNormFwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    dispatch_float(p.x_dtype, [&]<class X>() {
      using A = accum_t<T>;
      for (int64_t r = 0; r < p.rows; ++r) {
        const int64_t at = r * p.D;
        auto sum = [&](int64_t d) {
          A s = 0;
          if (p.x) s += A(static_cast<const X*>(p.x)[at + d]);
          if (p.residual) s += static_cast<const A*>(p.residual)[at + d];
          return s;
        };
        auto v = [&](int64_t d) { return rotated<A>(p.rotation, r, p.D, d, 1, sum); };
        A mean = 0, square = 0;
        if (p.kind == NormKind::layer)
          for (int64_t d = 0; d < p.D; ++d) mean += v(d);
        mean /= A(p.D);
        for (int64_t d = 0; d < p.D; ++d) square += (v(d) - mean) * (v(d) - mean);
        const A rstd = A(1) / std::sqrt(square / A(p.D) + A(p.eps));
        for (int64_t d = 0; d < p.D; ++d) {
          A y = (v(d) - mean) * rstd * static_cast<const A*>(p.w)[d];
          if (p.b) y += static_cast<const A*>(p.b)[d];
          static_cast<T*>(p.y)[at + d] = T(y);
          if (p.residual_out) static_cast<A*>(p.residual_out)[at + d] = v(d);
        }
        if (p.mean) static_cast<A*>(p.mean)[r] = mean;
        if (p.rstd) static_cast<A*>(p.rstd)[r] = rstd;
      }
    });
  });
}

void add_norm_bwd_reference(const AddNormBwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    dispatch_float(p.x_dtype, [&]<class X>() {
      using A = accum_t<T>;
      for (int64_t r = 0; r < p.rows; ++r) {
        const int64_t at = r * p.D;
        const bool layer = p.kind == NormKind::layer;
        const A mean = layer ? static_cast<const A*>(p.mean)[r] : A(0);
        const A rstd = static_cast<const A*>(p.rstd)[r];
        auto n = [&](int64_t d) { return (static_cast<const A*>(p.v)[at + d] - mean) * rstd; };
        auto dy = [&](int64_t d) { return p.dy ? A(static_cast<const T*>(p.dy)[at + d]) : A(0); };
        auto g = [&](int64_t d) { return dy(d) * static_cast<const A*>(p.w)[d]; };
        A sum_g = 0, sum_gn = 0;
        for (int64_t d = 0; d < p.D; ++d) {
          if (layer) sum_g += g(d);
          sum_gn += g(d) * n(d);
        }
        auto dv = [&](int64_t d) {
          const A own = rstd * (g(d) - sum_g / A(p.D) - n(d) * (sum_gn / A(p.D)));
          return p.dresidual_out ? own + static_cast<const A*>(p.dresidual_out)[at + d] : own;
        };
        for (int64_t d = 0; d < p.D; ++d) {
          const A dsum = rotated<A>(p.rotation, r, p.D, d, -1, dv);
          if (p.dx) {
            X& dx = static_cast<X*>(p.dx)[at + d];
            dx = X(p.accumulate_dx ? A(dx) + dsum : dsum);
          }
          if (p.dresidual) {
            A& dresidual = static_cast<A*>(p.dresidual)[at + d];
            dresidual = p.accumulate_dresidual ? dresidual + dsum : dsum;
          }
          if (p.dw) static_cast<A*>(p.dw)[d] += dy(d) * n(d);
          if (p.db) static_cast<A*>(p.db)[d] += dy(d);
        }
      }
    });
  });
}

}  // namespace krait
