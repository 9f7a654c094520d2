// The optimiser step: which kernels, in which order.
#include "engine/optimizer.h"

#include <cmath>

#include "kernels/adamw/adamw.h"
#include "kernels/grad_norm/grad_norm.h"
#include "kernels/sgd/sgd.h"

namespace krait {
namespace {

using Role = ParamStore::Role;

void adamw(Context& ctx, ParamStore& params, const OptimizerOptions& o, const StepResult* result) {
  ctx.launch(AdamW{.dtype = params.compute_dtype(),
                   .n = params.total(),
                   .n_decay = params.decayed(),
                   .beta1 = o.beta1,
                   .beta2 = o.beta2,
                   .eps = o.eps,
                   .weight_decay = o.weight_decay,
                   .clip = o.clip_grad.value_or(0),
                   .ema_decay = o.ema_decay.value_or(1),
                   .coupled = o.kind == OptimizerOptions::Kind::adam,
                   .zero_grad = true,
                   .state = ctx.state,
                   .result = result,
                   .rates = params.rates(),
                   .master = params.flat(Role::master).data(),
                   .grad = params.flat(Role::gradient).data(),
                   .m = params.flat(Role::moment1).data(),
                   .v = params.flat(Role::moment2).data(),
                   .ema = o.ema_decay ? params.flat(Role::ema).data() : nullptr,
                   .copy = params.flat(Role::copy).data()});
}

void sgd(Context& ctx, ParamStore& params, const OptimizerOptions& o, const StepResult* result) {
  ctx.launch(Sgd{.dtype = params.compute_dtype(),
                 .n = params.total(),
                 .n_decay = params.decayed(),
                 .momentum = o.momentum,
                 .weight_decay = o.weight_decay,
                 .nesterov = o.nesterov,
                 .clip = o.clip_grad.value_or(0),
                 .ema_decay = o.ema_decay.value_or(1),
                 .state = ctx.state,
                 .result = result,
                 .rates = params.rates(),
                 .master = params.flat(Role::master).data(),
                 .grad = params.flat(Role::gradient).data(),
                 .m = params.flat(Role::moment1).data(),
                 .ema = o.ema_decay ? params.flat(Role::ema).data() : nullptr,
                 .copy = params.flat(Role::copy).data()});
}

}  // namespace

void optimizer_step(Context& ctx, ParamStore& params, const OptimizerOptions& options,
                    StepResult* result) {
  const Tensor& grad = params.flat(Role::gradient);
  KRAIT_CHECK(grad && params.flat(Role::moment1) &&
                  (!options.second_moment() || params.flat(Role::moment2)),
              "optimizer: gradients or moments are not allocated");
  KRAIT_CHECK(!options.ema_decay || params.flat(Role::ema),
              "optimizer: the average is not allocated");
  KRAIT_CHECK(!params.using_ema(), "optimizer: the model computes with its average");
  KRAIT_CHECK(ctx.state && result, "optimizer: the step has no state");
  ctx.launch(GradNorm{.dtype = grad.dtype(),
                      .n = params.total(),
                      .grad = grad.data(),
                      .recovers = options.skip_not_finite,
                      .result = result,
                      .norm = nullptr});
  if (options.kind == OptimizerOptions::Kind::sgd)
    sgd(ctx, params, options, result);
  else
    adamw(ctx, params, options, result);
}

void set_step(StepState& state, const OptimizerOptions& options, uint64_t step, double lr) {
  const double t = static_cast<double>(step) + 1;
  state.step = step;
  state.lr = static_cast<float>(lr);
  state.correction1 = static_cast<float>(1 / (1 - std::pow(options.beta1, t)));
  state.correction2 = static_cast<float>(1 / (1 - std::pow(options.beta2, t)));
  state.ema_share = options.ema_warmup ? static_cast<float>(9 / (9 + t)) : 0;
}

}  // namespace krait
