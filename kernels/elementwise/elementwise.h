// Pointwise maths written once for both backends, and the kernels that apply it.
//   unary:  y = f(x)                         dx = f'(x) dy
//   add:    y = a x + b                      (b may be null; used for sums and for scaled copies)
//   scale columns:  y[r, d] = x[r, d] s[d]   (layer scale; backward: dx = dy s, ds = sum_r dy x)
#pragma once

#include <cmath>

#include "kernels/common/kernel.h"

namespace krait {

enum class Unary : uint8_t { silu, softplus, gelu };

// silu(x) = x sigmoid(x);  silu'(x) = s (1 + x (1 - s)),  s = sigmoid(x)
struct Silu {
  template <class A>
  KRAIT_HD static A value(A x) {
    return x / (A(1) + exp(-x));
  }
  template <class A>
  KRAIT_HD static A slope(A x) {
    const A s = A(1) / (A(1) + exp(-x));
    return s * (A(1) + x * (A(1) - s));
  }
};

// softplus(x) = log(1 + e^x), x itself above 20 (as torch and the published kernels have it);
// softplus'(x) = sigmoid(x), 1 above 20
struct Softplus {
  template <class A>
  KRAIT_HD static A value(A x) {
    return x > A(20) ? x : log1p(exp(x));
  }
  template <class A>
  KRAIT_HD static A slope(A x) {
    return x > A(20) ? A(1) : A(1) / (A(1) + exp(-x));
  }
};

// gelu(x) = x Phi(x), Phi(x) = (1 + erf(x / sqrt 2)) / 2 (Hendrycks & Gimpel 2016);
// gelu'(x) = Phi(x) + x exp(-x^2 / 2) / sqrt(2 pi)
struct Gelu {
  template <class A>
  KRAIT_HD static A share(A x) {
    return A(0.5) * (A(1) + erf(x * A(0.70710678118654752)));
  }
  template <class A>
  KRAIT_HD static A value(A x) {
    return x * share(x);
  }
  template <class A>
  KRAIT_HD static A slope(A x) {
    return share(x) + x * exp(A(-0.5) * x * x) * A(0.39894228040143268);
  }
};

struct UnaryFwd {
  static constexpr const char* name = "unary_fwd";
  DType dtype;
  Unary f;
  int64_t n;
  const void* x;  // (n)
  void* y;        // (n)
};
struct UnaryBwd {
  static constexpr const char* name = "unary_bwd";
  DType dtype;
  Unary f;
  int64_t n;
  bool accumulate;  // dx += rather than dx =
  const void* x;    // (n)
  const void* dy;   // (n)
  void* dx;         // (n)
};

// y = scale * a + b, each operand in its own type; y may be b (adds in place).
struct Add {
  static constexpr const char* name = "add";
  DType dtype;    // of y
  DType a_dtype;  // of a
  DType b_dtype;  // of b
  int64_t n;
  double scale;
  const void* a;  // (n)
  const void* b;  // (n) or null: y = scale * a
  void* y;        // (n)
};

struct ScaleColumnsFwd {
  static constexpr const char* name = "scale_columns_fwd";
  DType dtype;
  int64_t rows;
  int64_t D;
  const void* x;  // (rows, D)
  const void* s;  // (D), accum(dtype)
  void* y;        // (rows, D)
};
struct ScaleColumnsBwd {
  static constexpr const char* name = "scale_columns_bwd";
  DType dtype;
  int64_t rows;
  int64_t D;
  bool accumulate_dx;
  const void* x;   // (rows, D)
  const void* s;   // (D)
  const void* dy;  // (rows, D)
  void* dx;        // (rows, D) or null
  void* ds;        // (D) or null; always added to
};

template <>
std::span<const Variant<UnaryFwd>> variants<UnaryFwd>();
template <>
std::span<const Variant<UnaryBwd>> variants<UnaryBwd>();
template <>
std::span<const Variant<Add>> variants<Add>();
template <>
std::span<const Variant<ScaleColumnsFwd>> variants<ScaleColumnsFwd>();
template <>
std::span<const Variant<ScaleColumnsBwd>> variants<ScaleColumnsBwd>();

}  // namespace krait
