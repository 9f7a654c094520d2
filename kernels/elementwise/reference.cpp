// The definition of the pointwise kernels: plain loops.
#include "kernels/elementwise/rows.h"

namespace krait {
namespace {

template <class F>
void with(Unary u, F&& f) {
  if (u == Unary::silu) f(Silu());
  if (u == Unary::softplus) f(Softplus());
  if (u == Unary::gelu) f(Gelu());
}

}  // namespace

void unary_fwd_reference(const UnaryFwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    with(p.f, [&](auto f) {
      for (int64_t i = 0; i < p.n; ++i)
        static_cast<T*>(p.y)[i] = T(f.value(A(static_cast<const T*>(p.x)[i])));
    });
  });
}

void unary_bwd_reference(const UnaryBwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    with(p.f, [&](auto f) {
      for (int64_t i = 0; i < p.n; ++i) {
        const A x = A(static_cast<const T*>(p.x)[i]);
        const A g = A(static_cast<const T*>(p.dy)[i]) * f.slope(x);
        T& dx = static_cast<T*>(p.dx)[i];
        dx = T(p.accumulate ? A(dx) + g : g);
      }
    });
  });
}

void add_reference(const Add& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class Y>() {
    dispatch_float(p.a_dtype, [&]<class A>() {
      dispatch_float(p.b_dtype, [&]<class B>() {
        using S = accum_t<Y>;
        for (int64_t i = 0; i < p.n; ++i) {
          const S a = S(p.scale) * S(static_cast<const A*>(p.a)[i]);
          static_cast<Y*>(p.y)[i] = Y(p.b ? a + S(static_cast<const B*>(p.b)[i]) : a);
        }
      });
    });
  });
}

void scale_columns_fwd_reference(const ScaleColumnsFwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    for (int64_t r = 0; r < p.rows; ++r)
      for (int64_t d = 0; d < p.D; ++d)
        static_cast<T*>(p.y)[r * p.D + d] =
            T(A(static_cast<const T*>(p.x)[r * p.D + d]) * static_cast<const A*>(p.s)[d]);
  });
}

void scale_columns_bwd_reference(const ScaleColumnsBwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    for (int64_t r = 0; r < p.rows; ++r)
      for (int64_t d = 0; d < p.D; ++d) {
        const int64_t i = r * p.D + d;
        const A dy = A(static_cast<const T*>(p.dy)[i]);
        if (p.dx) {
          T& dx = static_cast<T*>(p.dx)[i];
          const A g = dy * static_cast<const A*>(p.s)[d];
          dx = T(p.accumulate_dx ? A(dx) + g : g);
        }
        if (p.ds) static_cast<A*>(p.ds)[d] += dy * A(static_cast<const T*>(p.x)[i]);
      }
  });
}

}  // namespace krait
