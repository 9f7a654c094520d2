// The op add_norm: residual addition and normalisation in one kernel.
#include "kernels/norm/norm.h"

#include "engine/ops/ops.h"

namespace krait {

Normed add_norm(Context& ctx, Norm norm, const Tensor& x, const Tensor& residual, const Tensor& w,
                const Tensor& b, double eps, DType out, const Tensor& cos, const Tensor& sin) {
  KRAIT_CHECK(x || residual, "add_norm: neither x nor residual is given");
  const Shape shape = x ? x.shape() : residual.shape();
  const DType wide = accum(out);
  const int64_t D = shape[-1];
  KRAIT_CHECK(!x || !residual || x.shape() == residual.shape(), "add_norm: x is ", x.shape(),
              ", residual is ", residual.shape());
  KRAIT_CHECK(!x || accum(x.dtype()) == wide, "add_norm: x is ", name_of(x.dtype()), ", y is ",
              name_of(out));
  KRAIT_CHECK(!residual || residual.dtype() == wide, "add_norm: residual is ",
              name_of(residual.dtype()), ", not ", name_of(wide));
  KRAIT_CHECK(w.shape() == Shape({D}) && w.dtype() == wide, "add_norm: w is ", w.shape(), " ",
              name_of(w.dtype()), ", the rows are ", shape);
  KRAIT_CHECK(!b || (b.shape() == Shape({D}) && b.dtype() == wide), "add_norm: b is ", b.shape(),
              " ", name_of(b.dtype()), ", the rows are ", shape);
  KRAIT_CHECK((!x || x.contiguous()) && (!residual || residual.contiguous()),
              "add_norm: an input is a part of something wider");

  Rotation rotation;
  if (cos) {
    const int64_t P = cos.shape(0), L = shape.rank == 3 ? shape[1] : 0;
    KRAIT_CHECK(cos.shape() == Shape({P, D}) && sin.shape() == cos.shape() && D % 2 == 0 &&
                    (P == L || P == L - 1),
                "add_norm: cos is ", cos.shape(), ", sin ", sin.shape(), ", the rows are ", shape);
    KRAIT_CHECK(cos.dtype() == wide && sin.dtype() == wide, "add_norm: the tables are ",
                name_of(cos.dtype()), ", not ", name_of(wide));
    rotation = {L, P, cos.data(), sin.data()};
  }

  // Where there is nothing to add or rotate, the sum is the one operand itself: nothing is copied.
  // It still is an output of its own, with its own place on the tape.
  const bool x_alone = x && !residual && x.dtype() == wide && !cos;
  const bool adds = x && !x_alone;
  Tensor sum = adds || cos ? ctx.empty(shape, wide) : x_alone ? x : residual;
  Tensor y = ctx.empty(shape, out);
  const bool layer = norm == Norm::layer;
  const int64_t rows = y.rows();
  Tensor mean = layer ? ctx.empty({rows}, wide) : Tensor(), rstd = ctx.empty({rows}, wide);
  const NormKind kind = layer ? NormKind::layer : NormKind::rms;
  ctx.launch(AddNormFwd{.dtype = out,
                        .x_dtype = adds ? x.dtype() : wide,
                        .kind = kind,
                        .rows = rows,
                        .D = D,
                        .eps = eps,
                        .rotation = rotation,
                        .x = adds ? x.data() : nullptr,
                        .residual = x_alone ? x.data() : residual.data(),
                        .w = w.data(),
                        .b = b.data(),
                        .residual_out = adds || cos ? sum.data() : nullptr,
                        .y = y.data(),
                        .mean = mean.data(),
                        .rstd = rstd.data()});
  ctx.record_op(
      "add_norm", {&x, &residual, &w, &b}, {&y, &sum},
      [x = x.place(), residual = residual.place(), w, b, v = sum, mean, rstd, kind, out, rows, D,
       rotation, cos, sin](Context& ctx, Tape::Step& step) {
        const Tensor &dy = step.dy(0), &dsum = step.dy(1);
        auto dx = step.into(x);
        auto dresidual = step.into(residual);
        // Without dy nothing reaches w and b.
        auto dw = dy ? step.into_accumulated(w) : Tape::Target();
        auto db = dy ? step.into_accumulated(b) : Tape::Target();
        KRAIT_CHECK(!dresidual || dresidual.grad.dtype() == accum(out),
                    "add_norm: the gradient of residual is ", name_of(dresidual.grad.dtype()));
        KRAIT_CHECK((!dx || dx.grad.contiguous()) && (!dresidual || dresidual.grad.contiguous()),
                    "add_norm: an input is a part of something wider");
        ctx.launch(AddNormBwd{.dtype = out,
                              .x_dtype = dx ? dx.grad.dtype() : out,
                              .kind = kind,
                              .rows = rows,
                              .D = D,
                              .accumulate_dx = dx.accumulate,
                              .accumulate_dresidual = dresidual.accumulate,
                              .rotation = rotation,
                              .v = v.data(),
                              .w = w.data(),
                              .mean = mean.data(),
                              .rstd = rstd.data(),
                              .dy = dy.data(),
                              .dresidual_out = dsum.data(),
                              .dx = dx.data(),
                              .dresidual = dresidual.data(),
                              .dw = dw.data(),
                              .db = db.data()});
      });
  return {y, sum};
}

}  // namespace krait
