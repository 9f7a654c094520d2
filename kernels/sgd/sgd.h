// Stochastic gradient descent with momentum, exactly as PyTorch computes it, over flat blocks in
// one launch (Sutskever et al., "On the importance of initialization and momentum", ICML 2013).
//   g' = g min(1, clip / (|g| + 1e-6))          |g|: the norm over all parameters, from the result
//   g' = g' + wd p                              the first n_decay elements only
//   m  = momentum m + g'
//   p  = p - lr rate (nesterov ? g' + momentum m : m)
//   ema = ema + (1 - ema_decay) (p - ema),  copy = p rounded,  g = 0
// When |g| or the loss is not finite, or the run is halted, only the last happens: g = 0.
#pragma once

#include "kernels/common/clip.h"
#include "kernels/common/kernel.h"

namespace krait {

struct Sgd {
  static constexpr const char* name = "sgd";
  DType dtype;      // of the copy; all else is accum(dtype)
  int64_t n;        // elements
  int64_t n_decay;  // so many, from the first, have weight decay
  double momentum, weight_decay;
  bool nesterov;
  double clip;                   // largest norm of the gradient; 0 or less: no clipping
  double ema_decay;              // used where there is an ema
  const StepState* state;        // (1) lr, ema_share
  const StepResult* result;      // (1) grad_norm, loss, halted
  const float* rates = nullptr;  // (n / rate_span, rounded up), of so many elements each, or null
  void* master;                  // (n) the parameters
  void* grad;                    // (n)
  void* m;                       // (n)
  void* ema;                     // (n) or null
  void* copy;                    // (n) or null: what the next forward pass computes with
};

template <>
std::span<const Variant<Sgd>> variants<Sgd>();

// The step of one element, in the type A of the blocks. Made once per thread.
template <class A>
struct SgdStep {
  A lr, decay, momentum, scale, one_minus_ema;
  bool nesterov;
  bool active;  // false: the gradient is bad, nothing may change

  KRAIT_HD explicit SgdStep(const Sgd& p)
      : lr(A(p.state->lr)),
        decay(A(p.weight_decay)),
        momentum(A(p.momentum)),
        scale(clip_factor<A>(p.clip, p.result->grad_norm)),
        one_minus_ema(ema_share<A>(p.ema_decay, *p.state)),
        nesterov(p.nesterov),
        active(may_step(*p.result)) {}
  KRAIT_HD void operator()(A& p, A g, A& m, bool decays, A rate) const {
    g *= scale;
    if (decays) g += p * decay;
    m = momentum * m + g;
    p -= rate * lr * (nesterov ? g + momentum * m : m);
  }
  KRAIT_HD void average(A& ema, A p) const { ema += one_minus_ema * (p - ema); }
};

}  // namespace krait
