// Ops conv2d and depthwise_conv2d: convolutions over pictures and over grids of tokens.
#include "kernels/conv2d/conv2d.h"

#include "engine/ops/ops.h"
#include "kernels/depthwise_conv2d/depthwise_conv2d.h"

namespace krait {

Tensor conv2d(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& b, int stride,
              int pad) {
  KRAIT_CHECK(x.shape().rank == 4 && w.shape().rank == 4 && w.shape(1) == x.shape(3) &&
                  w.shape(2) == w.shape(3),
              "conv2d: x is ", x.shape(), ", w is ", w.shape());
  KRAIT_CHECK(x.dtype() == w.dtype(), "conv2d: x is ", name_of(x.dtype()), ", w is ",
              name_of(w.dtype()));
  KRAIT_CHECK(x.contiguous() && w.contiguous(), "conv2d: an input is a part of something wider");
  const ConvShape s{.B = x.shape(0),
                    .H = x.shape(1),
                    .W = x.shape(2),
                    .C = x.shape(3),
                    .D = w.shape(0),
                    .k = w.shape(2),
                    .stride = stride,
                    .pad = pad};
  const DType wide = accum(w.dtype());
  KRAIT_CHECK(!b || (b.shape() == Shape({s.D}) && b.dtype() == wide), "conv2d: b is ", b.shape(),
              " ", name_of(b.dtype()), ", w is ", w.shape());
  KRAIT_CHECK(stride > 0 && pad >= 0 && s.k <= s.H + 2 * pad && s.k <= s.W + 2 * pad,
              "conv2d: x is ", x.shape(), ", w is ", w.shape(), ", stride ", stride, ", padding ",
              pad);
  Tensor y = ctx.empty({s.B, s.high(), s.wide(), s.D}, x.dtype());
  ctx.launch(Conv2dFwd{.dtype = x.dtype(),
                       .shape = s,
                       .allow_tf32 = ctx.allow_tf32,
                       .x = x.data(),
                       .w = w.data(),
                       .b = b.data(),
                       .y = y.data()});
  auto backward = [x, w, b = b.place(), s, wide](Context& ctx, Tape::Step& step) {
    auto dx = step.into(x);
    auto dw = step.into_accumulated(w);
    auto db = step.into_accumulated(b);
    KRAIT_CHECK(!dw || dw.grad.dtype() == wide, "conv2d: the gradient of w is ",
                name_of(dw.grad.dtype()), ", not ", name_of(wide));
    ctx.launch(Conv2dBwd{.dtype = x.dtype(),
                         .shape = s,
                         .allow_tf32 = ctx.allow_tf32,
                         .accumulate_dx = dx.accumulate,
                         .x = x.data(),
                         .w = w.data(),
                         .dy = step.dy().data(),
                         .dx = dx.data(),
                         .dw = dw.data(),
                         .db = db.data()});
  };
  ctx.record_op("conv2d", {&x, &w, &b}, {&y}, backward);
  return y;
}

Tensor depthwise_conv2d(Context& ctx, const Tensor& x, int64_t H, int64_t W, const Tensor& w,
                        const Tensor& b, bool silu) {
  KRAIT_CHECK(x.shape().rank == 3 && x.shape(1) == H * W, "depthwise_conv2d: x is ", x.shape(),
              ", the grid ", H, " by ", W);
  const int64_t B = x.shape(0), E = x.shape(2);
  const DType small = accum(x.dtype());
  KRAIT_CHECK(w.shape() == Shape({E, 3, 3}) && w.contiguous() && w.dtype() == small,
              "depthwise_conv2d: w is ", w.shape(), " ", name_of(w.dtype()), ", x is ", x.shape());
  KRAIT_CHECK(!b || (b.shape() == Shape({E}) && b.dtype() == small), "depthwise_conv2d: b is ",
              b.shape(), " ", name_of(b.dtype()), ", x is ", x.shape());
  Tensor y = ctx.empty(x.shape(), x.dtype());
  ctx.launch(DepthwiseConv2dFwd{.dtype = x.dtype(),
                                .B = B,
                                .H = H,
                                .W = W,
                                .E = E,
                                .silu = silu,
                                .x_row = x.row_stride(),
                                .x = x.data(),
                                .w = w.data(),
                                .b = b.data(),
                                .y = y.data()});
  auto backward = [x, w, b, B, H, W, E, silu](Context& ctx, Tape::Step& step) {
    auto dx = step.into(x);
    ctx.launch(DepthwiseConv2dBwd{.dtype = x.dtype(),
                                  .B = B,
                                  .H = H,
                                  .W = W,
                                  .E = E,
                                  .silu = silu,
                                  .accumulate_dx = dx.accumulate,
                                  .x_row = x.row_stride(),
                                  .dx_row = dx.grad.row_stride(),
                                  .x = x.data(),
                                  .w = w.data(),
                                  .b = b.data(),
                                  .dy = step.dy().data(),
                                  .dx = dx.data(),
                                  .dw = step.into_accumulated(w).data(),
                                  .db = step.into_accumulated(b).data()});
  };
  ctx.record_op("depthwise_conv2d", {&x, &w, &b}, {&y}, backward);
  return y;
}

}  // namespace krait
