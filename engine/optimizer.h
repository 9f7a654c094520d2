// One optimiser step over the flat blocks: gradient norm, clipping, AdamW, bf16 copy, EMA; then the
// gradients are zero again. The work is kernels (kernels/adamw); this file says in which order.
#pragma once

#include <optional>

#include "engine/params.h"

namespace krait {

// AdamW (Loshchilov & Hutter 2019) as PyTorch has it: p *= 1 - lr wd; then Adam's step.
struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double weight_decay = 0.05;
  std::optional<double> clip_grad =
      {};  // largest L2 norm of all gradients together; none: no clipping
  std::optional<double> ema_decay = {};  // none: no EMA
};

// Launches the step. lr and Adam's corrections come from ctx.state, in device memory. Writes the
// norm before clipping and the `halted` flag to `result` (device memory): once a norm is not
// finite, this and every later step leaves parameters, moments and EMA as they were.
void adamw_step(Context& ctx, ParamStore& params, const AdamWOptions& options, StepResult* result);

// Fills in StepState::lr, correction1, correction2 for step `step` (from 0).
void set_step(StepState& state, const AdamWOptions& options, uint64_t step, double lr);

}  // namespace krait
