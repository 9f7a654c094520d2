// The op rope: rotary position embedding.
#include "kernels/rope/rope.h"

#include "engine/ops/ops.h"

namespace krait {

Tensor rope(Context& ctx, const Tensor& x, const Tensor& cos, const Tensor& sin) {
  KRAIT_CHECK(x.shape().rank == 3 && x.shape(-1) % 2 == 0, "rope: x is ", x.shape(),
              ", not (B, L, D) with an even D");
  KRAIT_CHECK(x.contiguous(), "rope: x ", x.shape(), " is a part of something wider");
  const int64_t B = x.shape(0), L = x.shape(1), D = x.shape(2), P = cos.shape(0);
  KRAIT_CHECK(cos.shape() == Shape({P, D}) && sin.shape() == cos.shape() && (P == L || P == L - 1),
              "rope: cos is ", cos.shape(), ", sin ", sin.shape(), ", x ", x.shape());
  KRAIT_CHECK(cos.dtype() == accum(x.dtype()) && sin.dtype() == cos.dtype(),
              "rope: the tables are ", name_of(cos.dtype()), ", x is ", name_of(x.dtype()));
  RopeFwd p{.dtype = x.dtype(),
            .B = B,
            .L = L,
            .P = P,
            .D = D,
            .inverse = false,
            .accumulate = false,
            .x = x.data(),
            .cos = cos.data(),
            .sin = sin.data(),
            .y = nullptr};
  Tensor y = ctx.empty(x.shape(), x.dtype());
  p.y = y.data();
  ctx.launch(p);
  ctx.record_op("rope", {&x}, {&y}, [x = x.place(), cos, sin, p](Context& ctx, Tape::Step& step) {
    auto dx = step.into(x);
    KRAIT_CHECK(dx.grad.contiguous() && dx.grad.dtype() == p.dtype, "rope: the gradient of x is ",
                name_of(dx.grad.dtype()), " or a part of something wider");
    RopeFwd back = p;
    back.inverse = true;
    back.accumulate = dx.accumulate;
    back.x = step.dy().data();
    back.y = dx.data();
    ctx.launch(back);
  });
  return y;
}

}  // namespace krait
