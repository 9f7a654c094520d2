// remake: forward without a tape; in the backward pass forward again, with one.
#include "engine/remake.h"

#include <utility>

namespace krait {

Tensors remake(Context& ctx, Tensors inputs, std::function<Tensors(Context&, Tensors)> f) {
  Tape* const tape = ctx.tape();
  if (!tape) return f(ctx, std::move(inputs));
  Tensors outputs;
  {
    auto nothing = ctx.record_nothing();
    outputs = f(ctx, inputs);
  }
  auto backward = [inputs = std::move(inputs), f = std::move(f), training = ctx.training,
                   scope_name = ctx.scope_name()](Context& ctx, Tape::Step& step) mutable {
    Tape again(step);
    Tensors outputs;
    {
      auto scope = ctx.scope_again(scope_name);
      auto recording = ctx.record(again);
      const bool before = std::exchange(ctx.training, training);
      outputs = f(ctx, std::move(inputs));  // runs only once: the inputs go as soon as they can
      ctx.training = before;
    }
    Tensors gradients;
    for (size_t k = 0; k < outputs.size(); ++k)
      gradients.push_back(step.take_dy(static_cast<int>(k)));
    again.backward(ctx, std::move(outputs), std::move(gradients));
  };
  std::vector<Tensor*> to;
  for (Tensor& t : outputs) to.push_back(&t);
  tape->record_always("remake", to, std::move(backward));
  return outputs;
}

}  // namespace krait
