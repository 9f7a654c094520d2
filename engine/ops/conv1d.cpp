// Op conv1d: depthwise causal convolution in one or both directions.
#include "kernels/conv1d/conv1d.h"

#include "engine/ops/ops.h"

namespace krait {

std::vector<Tensor> conv1d(Context& ctx, const Tensor& x, const std::vector<ConvSide>& sides,
                           bool silu) {
  KRAIT_CHECK(x.shape().rank == 3, "conv1d: x is ", x.shape(), ", not (B, L, E)");
  KRAIT_CHECK(sides.size() == 1 || sides.size() == 2, "conv1d: ", sides.size(), " sides");
  const int64_t E = x.shape(2);
  const int K = static_cast<int>(sides[0].w.shape(-1));
  const DType small = accum(x.dtype());
  Conv1dFwd p{.dtype = x.dtype(),
              .B = x.shape(0),
              .L = x.shape(1),
              .E = E,
              .K = K,
              .sides = static_cast<int>(sides.size()),
              .silu = silu,
              .x_row = x.row_stride(),
              .x = x.data(),
              .side = {}};
  std::vector<Tensor> y;
  for (size_t n = 0; n < sides.size(); ++n) {
    const ConvSide& s = sides[n];
    KRAIT_CHECK(s.w.shape() == Shape({E, K}) && s.w.contiguous() && s.w.dtype() == small,
                "conv1d: w of side ", n, " is ", s.w.shape(), " ", name_of(s.w.dtype()), ", x is ",
                x.shape(), " ", name_of(x.dtype()), ", taps ", K);
    KRAIT_CHECK(!s.b || (s.b.shape() == Shape({E}) && s.b.dtype() == small), "conv1d: b of side ",
                n, " is ", s.b.shape(), " ", name_of(s.b.dtype()), ", x is ", x.shape(), " ",
                name_of(x.dtype()));
    y.push_back(ctx.empty(x.shape(), x.dtype()));
    p.side[n] = {.reverse = s.reverse, .w = s.w.data(), .b = s.b.data(), .y = y[n].data()};
  }
  ctx.launch(p);
  auto backward = [x, sides, silu, K](Context& ctx, Tape::Step& step) {
    auto dx = step.into(x);
    Conv1dBwd p{.dtype = x.dtype(),
                .B = x.shape(0),
                .L = x.shape(1),
                .E = x.shape(2),
                .K = K,
                .sides = static_cast<int>(sides.size()),
                .silu = silu,
                .accumulate_dx = dx.accumulate,
                .x_row = x.row_stride(),
                .dx_row = dx.grad.row_stride(),
                .x = x.data(),
                .dx = dx.data(),
                .side = {}};
    for (size_t n = 0; n < sides.size(); ++n)
      p.side[n] = {.reverse = sides[n].reverse,
                   .w = sides[n].w.data(),
                   .b = sides[n].b.data(),
                   .dy = step.dy(static_cast<int>(n)).data(),
                   .dw = step.into_accumulated(sides[n].w).data(),
                   .db = step.into_accumulated(sides[n].b).data()};
    ctx.launch(p);
  };
  if (sides.size() == 1)
    ctx.record_op("conv1d", {&x, &sides[0].w, &sides[0].b}, {&y[0]}, backward);
  else
    ctx.record_op("conv1d", {&x, &sides[0].w, &sides[0].b, &sides[1].w, &sides[1].b},
                  {&y[0], &y[1]}, backward);
  return y;
}

}  // namespace krait
