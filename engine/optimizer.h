// One optimiser step over the flat blocks: gradient norm, clipping, the update, bf16 copy, EMA;
// then the gradients are zero again. The work is kernels (kernels/adamw, kernels/sgd); this file
// says in which order.
#pragma once

#include <optional>

#include "engine/params.h"

namespace krait {

// As PyTorch has them. AdamW (Loshchilov & Hutter 2019): p *= 1 - lr wd, then Adam's step. Adam
// (Kingma & Ba 2015) and SGD: g += wd p.
struct OptimizerOptions {
  enum class Kind : uint8_t { adamw, adam, sgd };
  Kind kind = Kind::adamw;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;  // Adam's
  double momentum = 0.9;                          // of SGD
  bool nesterov = true;                           // of SGD
  double weight_decay = 0.05;
  std::optional<double> clip_grad =
      {};  // largest L2 norm of all gradients together; none: no clipping
  std::optional<double> ema_decay = {};  // none: no EMA
  bool ema_warmup = false;               // decay min(ema_decay, (1 + step) / (10 + step))
  bool skip_not_finite = false;          // go on after a gradient that is not finite
  // What it keeps per parameter.
  bool second_moment() const { return kind != Kind::sgd; }
};

// Launches the step. lr and Adam's corrections come from ctx.state, in device memory. Writes the
// norm before clipping and the `halted` flag to `result` (device memory): once a norm is not
// finite, this and every later step leaves parameters, moments and EMA as they were; with
// skip_not_finite only this one.
void optimizer_step(Context& ctx, ParamStore& params, const OptimizerOptions& options,
                    StepResult* result);

// Fills in what optimiser step `step` (from 0) needs of a StepState: step, lr, correction1,
// correction2, ema_share.
void set_step(StepState& state, const OptimizerOptions& options, uint64_t step, double lr);

}  // namespace krait
