// Matrix products: linear, and split, which costs nothing.
#include "engine/ops/matmul.h"
#include "engine/ops/ops.h"
#include "kernels/matmul/matmul.h"
#include "kernels/reduce/reduce.h"

namespace krait {
void matmul(Context& ctx, const Tensor& a, bool trans_a, const Tensor& b, bool trans_b,
            const Tensor& c, bool add) {
  ctx.launch(Matmul{.dtype = a.dtype(),
                    .c_dtype = c.dtype(),
                    .m = c.rows(),
                    .n = c.shape(-1),
                    .k = trans_a ? a.rows() : a.shape(-1),
                    .trans_a = trans_a,
                    .trans_b = trans_b,
                    .accumulate = add,
                    .allow_tf32 = ctx.allow_tf32,
                    .a = a.data(),
                    .b = b.data(),
                    .c = c.data(),
                    .a_row = a.row_stride(),
                    .b_row = b.row_stride(),
                    .c_row = c.row_stride()});
}

namespace {

// y of type `type`, its rows `row_stride` apart (-1: packed).
Tensor linear_into(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& b, DType type,
                   int64_t row_stride) {
  const int64_t N = w.shape(0), K = x.shape(-1);
  KRAIT_CHECK(w.shape() == Shape({N, K}), "linear: w is ", w.shape(), ", x is ", x.shape());
  KRAIT_CHECK(w.dtype() == x.dtype(), "linear: w is ", name_of(w.dtype()), ", x is ",
              name_of(x.dtype()));
  KRAIT_CHECK(!b || b.shape() == Shape({N}), "linear: b is ", b.shape(), ", w is ", w.shape());
  Tensor y = ctx.empty(x.shape().with_last(N), type, row_stride);
  matmul(ctx, x, false, w, true, y, false);
  if (b)
    ctx.launch(AddBias{.dtype = y.dtype(),
                       .rows = y.rows(),
                       .D = N,
                       .row = y.row_stride(),
                       .b = b.data(),
                       .y = y.data()});
  ctx.record_op("linear", {&x, &w, &b}, {&y}, [x, w, b](Context& ctx, Tape::Step& step) {
    Tensor dy = step.dy();
    if (dy.dtype() != x.dtype()) {  // a wide result: its gradient is rounded for the products
      dy = ctx.empty(dy.shape(), x.dtype());
      copy(ctx, step.dy(), dy);
    }
    if (auto dx = step.into(x)) matmul(ctx, dy, false, w, false, dx.grad, dx.accumulate);
    if (auto dw = step.into(w)) matmul(ctx, dy, true, x, false, dw.grad, dw.accumulate);
    if (auto db = step.into_accumulated(b))
      ctx.launch(ColumnSum{.dtype = step.dy().dtype(),
                           .rows = dy.rows(),
                           .D = dy.shape(-1),
                           .row = step.dy().row_stride(),
                           .x = step.dy().data(),
                           .sum = db.data()});
  });
  return y;
}

}  // namespace

Tensor linear(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& b, bool wide) {
  return linear_into(ctx, x, w, b, wide ? accum(x.dtype()) : x.dtype(), -1);
}
Tensor linear_aligned(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& b) {
  const int64_t N = w.shape(0), unit = 16 / static_cast<int64_t>(size_of(x.dtype()));
  return linear_into(ctx, x, w, b, x.dtype(), (N + unit - 1) / unit * unit);
}

std::vector<Tensor> split(Context& ctx, const Tensor& x, std::initializer_list<int64_t> widths) {
  std::vector<Tensor> parts;
  int64_t from = 0;
  for (int64_t width : widths) {
    parts.push_back(x.columns(from, from + width));
    from += width;
  }
  KRAIT_CHECK(from == x.shape(-1), "split: the widths add up to ", from, ", x is ", x.shape());
  if (ctx.tape()) ctx.tape()->record_split(x, parts);
  return parts;
}

}  // namespace krait
