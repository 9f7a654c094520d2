// AdamW (Loshchilov & Hutter 2019) and Adam (Kingma & Ba 2015), exactly as PyTorch computes them,
// over flat blocks in one launch.
//   g' = g min(1, clip / (|g| + 1e-6))          |g|: the norm over all parameters, from the result
//   lr = lr rate             each parameter's share of it: rates, 1 without a table
//   p  = p (1 - lr wd)      AdamW; Adam: g' = g' + wd p;   the first n_decay elements only
//   m  = m + (1 - beta1) (g' - m),  v = v + (1 - beta2) (g'^2 - v)
//   p  = p - lr (m c1) / (sqrt(v c2) + eps)     c = 1 / (1 - beta^t), from the step's state
//   ema = ema + (1 - ema_decay) (p - ema),  copy = p rounded,  g = 0
// When |g| or the loss is not finite, or the run is halted, only the last happens: g = 0.
#pragma once

#include <cmath>

#include "kernels/common/clip.h"
#include "kernels/common/kernel.h"
#include "kernels/common/step_state.h"

namespace krait {

struct AdamW {
  static constexpr const char* name = "adamw";
  DType dtype;      // of the copy; all else is accum(dtype)
  int64_t n;        // elements
  int64_t n_decay;  // so many, from the first, have weight decay
  double beta1, beta2, eps, weight_decay;
  double clip;                   // largest norm of the gradient; 0 or less: no clipping
  double ema_decay;              // used where there is an ema
  bool coupled = false;          // weight decay is added to the gradient: Adam, not AdamW
  bool zero_grad;                // leave the gradient zero for the next step, rather than as it is
  const StepState* state;        // (1) lr, correction1, correction2
  const StepResult* result;      // (1) grad_norm, halted
  const float* rates = nullptr;  // (n / rate_span, rounded up), of so many elements each, or null
  void* master;                  // (n) the parameters
  void* grad;                    // (n)
  void* m;                       // (n)
  void* v;                       // (n)
  void* ema;                     // (n) or null
  void* copy;                    // (n) or null: what the next forward pass computes with
};

template <>
std::span<const Variant<AdamW>> variants<AdamW>();

// The step of one element, in the type A of the blocks. Made once per thread.
template <class A>
struct AdamWStep {
  A lr, decay, c1, c2, one_minus_beta1, one_minus_beta2, eps, scale, one_minus_ema;
  bool coupled;
  bool active;  // false: the gradient is bad, nothing may change

  KRAIT_HD explicit AdamWStep(const AdamW& p)
      : lr(A(p.state->lr)),
        decay(A(p.coupled ? p.weight_decay : p.state->lr * p.weight_decay)),
        c1(A(p.state->correction1)),
        c2(A(p.state->correction2)),
        one_minus_beta1(A(1 - p.beta1)),
        one_minus_beta2(A(1 - p.beta2)),
        eps(A(p.eps)),
        scale(clip_factor<A>(p.clip, p.result->grad_norm)),
        one_minus_ema(ema_share<A>(p.ema_decay, *p.state)),
        coupled(p.coupled),
        active(may_step(*p.result)) {}
  KRAIT_HD void operator()(A& p, A g, A& m, A& v, bool decays, A rate) const {
    g *= scale;
    if (decays && coupled) g += p * decay;
    if (decays && !coupled) p -= p * (rate * decay);
    m += one_minus_beta1 * (g - m);
    v += one_minus_beta2 * (g * g - v);
    p -= rate * lr * (m * c1) / (sqrt(v * c2) + eps);
  }
  KRAIT_HD void average(A& ema, A p) const { ema += one_minus_ema * (p - ema); }
};

}  // namespace krait
