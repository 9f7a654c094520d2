// Binary cross-entropy of every class for itself, on logits: PyTorch's BCEWithLogitsLoss.
//   loss = 1/(B C) sum_b sum_c max(x, 0) - x t + log(1 + exp(-|x|))      x: logit, t: target
#pragma once

#include <cmath>

#include "kernels/common/kernel.h"

namespace krait {

struct BceFwd {
  static constexpr const char* name = "bce_fwd";
  DType dtype;          // of logits; the rest is accum(dtype)
  int64_t B;            // images
  int64_t C;            // classes
  bool binary;          // every target above 0 counts as 1
  const void* logits;   // (B, C)
  const void* targets;  // (B, C)
  void* loss;           // (1)
};

// dlogits[b, c] = dloss / (B C) (sigmoid(x) - t)
struct BceBwd {
  static constexpr const char* name = "bce_bwd";
  DType dtype;  // of logits and dlogits
  int64_t B;
  int64_t C;
  bool binary;
  bool accumulate;      // dlogits += rather than =
  const void* logits;   // (B, C)
  const void* targets;  // (B, C) accum
  const void* dloss;    // (1) accum
  void* dlogits;        // (B, C)
};

template <>
std::span<const Variant<BceFwd>> variants<BceFwd>();
template <>
std::span<const Variant<BceBwd>> variants<BceBwd>();

// 1 / (1 + exp(-x)); exp never overflows.
template <class A>
KRAIT_HD A sigmoid_of(A x) {
  const A e = std::exp(x < A(0) ? x : -x);
  return (x < A(0) ? e : A(1)) / (A(1) + e);
}

// The loss of one image, summed over its classes.
template <class T, class A>
KRAIT_HD A bce_of_image(const BceFwd& p, int64_t b) {
  const T* x = static_cast<const T*>(p.logits) + b * p.C;
  const A* t = static_cast<const A*>(p.targets) + b * p.C;
  A sum = 0;
  for (int64_t c = 0; c < p.C; ++c) {
    const A v = A(x[c]), target = p.binary ? A(t[c] > A(0)) : t[c];
    sum += (v > A(0) ? v : A(0)) - v * target + std::log1p(std::exp(v < A(0) ? v : -v));
  }
  return sum;
}

// The gradient of one logit; `scale` is dloss / (B C).
template <class T, class A>
KRAIT_HD void bce_gradient(const BceBwd& p, A scale, int64_t i) {
  const A t = static_cast<const A*>(p.targets)[i];
  const A g =
      scale * (sigmoid_of(A(static_cast<const T*>(p.logits)[i])) - (p.binary ? A(t > A(0)) : t));
  T& to = static_cast<T*>(p.dlogits)[i];
  to = T(p.accumulate ? A(to) + g : g);
}

}  // namespace krait
