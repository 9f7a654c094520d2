// Op transpose: swaps the two middle dimensions.
#include "kernels/transpose/transpose.h"

#include "engine/ops/ops.h"

namespace krait {

Tensor transpose(Context& ctx, const Tensor& x) {
  KRAIT_CHECK(x.shape().rank == 4 && x.contiguous(), "transpose: x is ", x.shape(),
              x.contiguous() ? ", not (B, M, N, K)" : " of something wider");
  Transpose p{.dtype = x.dtype(),
              .B = x.shape(0),
              .M = x.shape(1),
              .N = x.shape(2),
              .K = x.shape(3),
              .accumulate = false,
              .x = x.data(),
              .y = nullptr};
  Tensor y = ctx.empty({p.B, p.N, p.M, p.K}, x.dtype());
  p.y = y.data();
  ctx.launch(p);
  ctx.record_op("transpose", {&x}, {&y}, [x = x.place(), p](Context& ctx, Tape::Step& step) {
    auto dx = step.into(x);
    KRAIT_CHECK(dx.grad.contiguous(), "transpose: dx is a part of something wider");
    Transpose back = p;
    std::swap(back.M, back.N);
    back.accumulate = dx.accumulate;
    back.x = step.dy().data();
    back.y = dx.data();
    ctx.launch(back);
  });
  return y;
}

}  // namespace krait
