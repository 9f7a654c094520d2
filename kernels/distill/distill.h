// Learning from another model's logits, as DeiT does (Touvron et al. 2021; Hinton et al. 2015).
#pragma once

#include <cmath>

#include "kernels/bce/bce.h"
#include "kernels/common/kernel.h"

namespace krait {

// loss = tau^2 / (B C) sum_b sum_c q (log q - log p),  q = softmax(teacher / tau),
// p = softmax(logits / tau): the divergence of the student's answer from the teacher's.
struct KlFwd {
  static constexpr const char* name = "kl_fwd";
  DType dtype;          // of logits; the rest is accum(dtype)
  int64_t B;            // images
  int64_t C;            // classes
  double tau;           // the temperature
  const void* logits;   // (B, C) the student's
  const void* teacher;  // (B, C) the teacher's logits
  void* loss;           // (1)
};

// dlogits[b, c] = dloss tau / (B C) (p - q)
struct KlBwd {
  static constexpr const char* name = "kl_bwd";
  DType dtype;  // of logits and dlogits
  int64_t B;
  int64_t C;
  double tau;
  bool accumulate;      // dlogits += rather than =
  const void* logits;   // (B, C)
  const void* teacher;  // (B, C) accum
  const void* dloss;    // (1) accum
  void* dlogits;        // (B, C)
};

// Targets out of logits.
//   hard:  out[b, c] = 1 where logits[b, c] is the largest (the first of equals), else 0
//   cosub: out[b, c] = (t + sigmoid(logits[(b + B/2) % B, c])) / 2,  t = targets[b % (B/2), c]:
//          each half of the batch learns from the labels and from the other half
struct LogitTargets {
  static constexpr const char* name = "logit_targets";
  enum class Kind : int32_t { hard, cosub };
  DType dtype;  // of logits; the rest is accum(dtype)
  Kind kind;
  int64_t B;  // rows of logits; cosub: even
  int64_t C;
  bool binary;          // cosub: every target above 0 counts as 1
  const void* logits;   // (B, C)
  const void* targets;  // cosub: (B/2, C)
  void* out;            // (B, C)
};

template <>
std::span<const Variant<KlFwd>> variants<KlFwd>();
template <>
std::span<const Variant<KlBwd>> variants<KlBwd>();
template <>
std::span<const Variant<LogitTargets>> variants<LogitTargets>();

// log sum_c exp(x[c] / tau), with the largest taken out so that nothing overflows.
template <class A, class T>
KRAIT_HD A log_sum_exp(const T* x, int64_t C, A tau) {
  A most = A(x[0]) / tau, sum = 0;
  for (int64_t c = 1; c < C; ++c) most = A(x[c]) / tau > most ? A(x[c]) / tau : most;
  for (int64_t c = 0; c < C; ++c) sum += std::exp(A(x[c]) / tau - most);
  return most + std::log(sum);
}

// sum_c q (log q - log p) of one image.
template <class T, class A>
KRAIT_HD A kl_of_image(const KlFwd& p, int64_t b) {
  const T* x = static_cast<const T*>(p.logits) + b * p.C;
  const A* z = static_cast<const A*>(p.teacher) + b * p.C;
  const A tau = A(p.tau), all_x = log_sum_exp(x, p.C, tau), all_z = log_sum_exp(z, p.C, tau);
  A sum = 0;
  for (int64_t c = 0; c < p.C; ++c) {
    const A log_q = z[c] / tau - all_z, log_p = A(x[c]) / tau - all_x;
    sum += std::exp(log_q) * (log_q - log_p);
  }
  return sum;
}

// The gradients of one image's logits; `scale` is dloss tau / (B C). They add up to 0. Where both
// are sure of one class, its p - q would cancel: the likeliest class gets what the others leave.
template <class T, class A>
KRAIT_HD void kl_gradient(const KlBwd& p, A scale, int64_t b) {
  const T* x = static_cast<const T*>(p.logits) + b * p.C;
  const A* z = static_cast<const A*>(p.teacher) + b * p.C;
  T* dx = static_cast<T*>(p.dlogits) + b * p.C;
  const A tau = A(p.tau), all_x = log_sum_exp(x, p.C, tau), all_z = log_sum_exp(z, p.C, tau);
  int64_t most = 0;
  for (int64_t c = 1; c < p.C; ++c)
    if (A(x[c]) > A(x[most])) most = c;
  A others = 0;
  for (int64_t c = 0; c < p.C; ++c) {
    if (c == most) continue;
    const A g = scale * (std::exp(A(x[c]) / tau - all_x) - std::exp(z[c] / tau - all_z));
    dx[c] = T(p.accumulate ? A(dx[c]) + g : g);
    others += g;
  }
  dx[most] = T(p.accumulate ? A(dx[most]) - others : -others);
}

// The targets of one row.
template <class T, class A>
KRAIT_HD void targets_of_row(const LogitTargets& p, int64_t b) {
  const T* x = static_cast<const T*>(p.logits);
  A* out = static_cast<A*>(p.out) + b * p.C;
  if (p.kind == LogitTargets::Kind::hard) {
    int64_t largest = 0;
    for (int64_t c = 1; c < p.C; ++c)
      if (A(x[b * p.C + c]) > A(x[b * p.C + largest])) largest = c;
    for (int64_t c = 0; c < p.C; ++c) out[c] = A(c == largest);
    return;
  }
  const int64_t half = p.B / 2;
  const T* other = x + (b + half) % p.B * p.C;
  const A* t = static_cast<const A*>(p.targets) + b % half * p.C;
  for (int64_t c = 0; c < p.C; ++c)
    out[c] = ((p.binary ? A(t[c] > A(0)) : t[c]) + sigmoid_of(A(other[c]))) / A(2);
}

}  // namespace krait
