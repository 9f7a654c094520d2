// What the optimisers' kernels share: clipping, the average, rates of single parameters.
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

// A table of rates has one number for so many neighbours of a flat block.
constexpr int64_t rate_span = 64;

// The share of the learning rate of element i; without a table all of it.
KRAIT_HD inline float rate_at(const float* rates, int64_t i) {
  return rates ? rates[i / rate_span] : 1.0f;
}

// The share of the way that the average moves towards the weights.
template <class A>
KRAIT_HD A ema_share(double decay, const StepState& state) {
  const A share = A(1 - decay), least = A(state.ema_share);
  return share < least ? least : share;
}

}  // namespace krait
