// The op cross_entropy.
#include "engine/ops/ops.h"
#include "kernels/cross_entropy/cross_entropy.h"

namespace krait {

Tensor cross_entropy(Context& ctx, const Tensor& logits, const Tensor& targets, Totals* totals) {
  KRAIT_CHECK(logits.shape().rank == 2 && logits.contiguous() && logits.count() > 0,
              "cross_entropy: logits are ", logits.shape());
  KRAIT_CHECK(targets.shape() == logits.shape() && targets.contiguous(),
              "cross_entropy: targets are ", targets.shape(), ", logits are ", logits.shape());
  const DType wide = accum(logits.dtype());
  KRAIT_CHECK(targets.dtype() == wide, "cross_entropy: targets are ", name_of(targets.dtype()),
              ", not ", name_of(wide));
  Tensor loss = ctx.empty({1}, wide);
  ctx.launch(CrossEntropyFwd{.dtype = logits.dtype(),
                             .B = logits.shape(0),
                             .C = logits.shape(1),
                             .logits = logits.data(),
                             .targets = targets.data(),
                             .loss = loss.data(),
                             .totals = totals});
  ctx.record_op("cross_entropy", {&logits}, {&loss},
                [logits, targets](Context& ctx, Tape::Step& step) {
                  auto dlogits = step.into(logits);
                  KRAIT_CHECK(dlogits.grad.contiguous() && dlogits.grad.dtype() == logits.dtype(),
                              "cross_entropy: the gradient of logits is ",
                              name_of(dlogits.grad.dtype()), " or a part of something wider");
                  ctx.launch(CrossEntropyBwd{.dtype = logits.dtype(),
                                             .B = logits.shape(0),
                                             .C = logits.shape(1),
                                             .accumulate = dlogits.accumulate,
                                             .logits = logits.data(),
                                             .targets = targets.data(),
                                             .dloss = step.dy().data(),
                                             .dlogits = dlogits.data()});
                });
  return loss;
}

}  // namespace krait
