// What every optimiser's kernel does before its own formula: clip the gradient, or let it be.
#pragma once

#include "kernels/common/dtype.h"
#include "kernels/common/step_state.h"

namespace krait {

// May the parameters change? Not once the run is halted, nor when the norm or the loss is infinite
// or NaN.
KRAIT_HD inline bool may_step(const StepResult& result) {
  const float sum = result.grad_norm + result.loss;  // infinities and NaN give NaN below
  return !result.halted && sum - sum == 0;
}

// What a gradient is multiplied by, as torch.nn.utils.clip_grad_norm_ has it:
// min(1, clip / (norm + 1e-6)). `clip` 0 or less: 1.
template <class A>
KRAIT_HD A clip_factor(double clip, float norm) {
  if (clip <= 0) return A(1);
  const A factor = A(clip) / (A(norm) + A(1e-6));
  return factor < A(1) ? factor : A(1);
}

// The share of the way that the average moves towards the weights.
template <class A>
KRAIT_HD A ema_share(double decay, const StepState& state) {
  const A share = A(1 - decay), least = A(state.ema_share);
  return share < least ? least : share;
}

}  // namespace krait
