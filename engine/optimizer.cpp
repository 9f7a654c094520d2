// The optimiser step: which kernels, in which order.
#include "engine/optimizer.h"

#include <cmath>

#include "kernels/adamw/adamw.h"
#include "kernels/grad_norm/grad_norm.h"

namespace krait {

void adamw_step(Context& ctx, ParamStore& params, const AdamWOptions& options, StepResult* result) {
  using Role = ParamStore::Role;
  const Tensor &master = params.flat(Role::master), &grad = params.flat(Role::gradient),
               &m = params.flat(Role::moment1), &v = params.flat(Role::moment2),
               &ema = params.flat(Role::ema), &copy = params.flat(Role::copy);
  KRAIT_CHECK(master && grad && m && v, "adamw: gradients and moments are not allocated");
  KRAIT_CHECK(!options.ema_decay || ema, "adamw: the average is not allocated");
  KRAIT_CHECK(!params.using_ema(), "adamw: the model computes with its average");
  KRAIT_CHECK(ctx.state && result, "adamw: the step has no state");
  ctx.launch(GradNorm{.dtype = grad.dtype(),
                      .n = params.total(),
                      .grad = grad.data(),
                      .result = result,
                      .norm = nullptr});
  ctx.launch(AdamW{.dtype = params.compute_dtype(),
                   .n = params.total(),
                   .n_decay = params.decayed(),
                   .beta1 = options.beta1,
                   .beta2 = options.beta2,
                   .eps = options.eps,
                   .weight_decay = options.weight_decay,
                   .clip = options.clip_grad.value_or(0),
                   .ema_decay = options.ema_decay.value_or(1),
                   .zero_grad = true,
                   .state = ctx.state,
                   .result = result,
                   .master = master.data(),
                   .grad = grad.data(),
                   .m = m.data(),
                   .v = v.data(),
                   .ema = options.ema_decay ? ema.data() : nullptr,
                   .copy = copy.data()});
}

void set_step(StepState& state, const AdamWOptions& options, uint64_t step, double lr) {
  const double t = static_cast<double>(step) + 1;
  state.step = step;
  state.lr = static_cast<float>(lr);
  state.correction1 = static_cast<float>(1 / (1 - std::pow(options.beta1, t)));
  state.correction2 = static_cast<float>(1 / (1 - std::pow(options.beta2, t)));
}

}  // namespace krait
