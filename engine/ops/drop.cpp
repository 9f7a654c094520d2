// The op drop: dropout and drop path.
#include "kernels/drop/drop.h"

#include "engine/ops/ops.h"

namespace krait {

Tensor drop(Context& ctx, const Tensor& x, double p, int64_t group, int place) {
  if (!ctx.training || p <= 0) return x;
  KRAIT_CHECK(p < 1, "drop: p is ", p);
  KRAIT_CHECK(group > 0 && place >= 0, "drop: group is ", group, ", place is ", place);
  KRAIT_CHECK(x.contiguous(), "drop: x ", x.shape(), " is a part of something wider");
  KRAIT_CHECK(ctx.state || ctx.measuring(), "drop: there is no state to draw random numbers from");
  Tensor y = ctx.empty(x.shape(), x.dtype());
  const Drop forward{.dtype = x.dtype(),
                     .n = x.count(),
                     .group = group,
                     .p = static_cast<float>(p),
                     .place = place,
                     .accumulate = false,
                     .state = ctx.state,
                     .x = x.data(),
                     .y = y.data(),
                     .groups = x.count() / x.shape(0) / group};
  ctx.launch(forward);
  ctx.record_op("drop", {&x}, {&y}, [x = x.place(), forward](Context& ctx, Tape::Step& step) {
    auto dx = step.into(x);
    KRAIT_CHECK(dx.grad.contiguous() && dx.grad.dtype() == forward.dtype,
                "drop: the gradient of x is ", name_of(dx.grad.dtype()),
                " or a part of something wider");
    Drop back = forward;
    back.accumulate = dx.accumulate;
    back.x = step.dy().data();
    back.y = dx.data();
    ctx.launch(back);
  });
  return y;
}

}  // namespace krait
