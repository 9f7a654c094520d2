// Pointwise ops: silu, softplus, gelu, add, scale_columns.
#include "kernels/elementwise/elementwise.h"

#include "engine/ops/ops.h"

namespace krait {
namespace {

Tensor unary(Context& ctx, Unary f, const char* name, const Tensor& x) {
  KRAIT_CHECK(x.contiguous(), name, ": x ", x.shape(), " is a part of something wider");
  Tensor y = ctx.empty(x.shape(), x.dtype());
  ctx.launch(UnaryFwd{.dtype = x.dtype(), .f = f, .n = x.count(), .x = x.data(), .y = y.data()});
  ctx.record_op(name, {&x}, {&y}, [x, f](Context& ctx, Tape::Step& step) {
    if (auto dx = step.into(x))
      ctx.launch(UnaryBwd{.dtype = x.dtype(),
                          .f = f,
                          .n = x.count(),
                          .accumulate = dx.accumulate,
                          .x = x.data(),
                          .dy = step.dy().data(),
                          .dx = dx.data()});
  });
  return y;
}

// to = from, or to += from; each in its own type.
void pass(Context& ctx, const Tensor& from, const Tape::Target& to) {
  KRAIT_CHECK(to.grad.contiguous(), "add: an input is a part of something wider");
  ctx.launch(Add{.dtype = to.grad.dtype(),
                 .a_dtype = from.dtype(),
                 .b_dtype = to.grad.dtype(),
                 .n = from.count(),
                 .scale = 1,
                 .a = from.data(),
                 .b = to.accumulate ? to.data() : nullptr,
                 .y = to.data()});
}

}  // namespace

void copy(Context& ctx, const Tensor& from, const Tensor& to) {
  KRAIT_CHECK(from.contiguous() && from.count() == to.count(), "copy: from ", from.shape(), " to ",
              to.shape());
  pass(ctx, from, {to, false});
}

Tensor silu(Context& ctx, const Tensor& x) {
  return unary(ctx, Unary::silu, "silu", x);
}
Tensor softplus(Context& ctx, const Tensor& x) {
  return unary(ctx, Unary::softplus, "softplus", x);
}
Tensor gelu(Context& ctx, const Tensor& x) {
  return unary(ctx, Unary::gelu, "gelu", x);
}

Tensor add(Context& ctx, const Tensor& a, const Tensor& b) {
  KRAIT_CHECK(a.shape() == b.shape(), "add: a is ", a.shape(), ", b is ", b.shape());
  KRAIT_CHECK(a.contiguous() && b.contiguous(), "add: an input is a part of something wider");
  Tensor y = ctx.empty(b.shape(), b.dtype());
  ctx.launch(Add{.dtype = y.dtype(),
                 .a_dtype = a.dtype(),
                 .b_dtype = b.dtype(),
                 .n = a.count(),
                 .scale = 1,
                 .a = a.data(),
                 .b = b.data(),
                 .y = y.data()});
  auto backward = [a = a.place(), b = b.place()](Context& ctx, Tape::Step& step) {
    if (auto da = step.into(a)) pass(ctx, step.dy(), da);
    if (auto db = step.into(b)) pass(ctx, step.dy(), db);
  };
  ctx.record_op("add", {&a, &b}, {&y}, backward);
  return y;
}

Tensor scale_columns(Context& ctx, const Tensor& x, const Tensor& s) {
  const int64_t D = x.shape(-1);
  KRAIT_CHECK(x.contiguous(), "scale_columns: x ", x.shape(), " is a part of something wider");
  KRAIT_CHECK(s.shape() == Shape({D}), "scale_columns: s is ", s.shape(), ", x is ", x.shape());
  Tensor y = ctx.empty(x.shape(), x.dtype());
  ctx.launch(ScaleColumnsFwd{
      .dtype = x.dtype(), .rows = x.rows(), .D = D, .x = x.data(), .s = s.data(), .y = y.data()});
  ctx.record_op("scale_columns", {&x, &s}, {&y}, [x, s](Context& ctx, Tape::Step& step) {
    auto dx = step.into(x);
    auto ds = step.into_accumulated(s);
    ctx.launch(ScaleColumnsBwd{.dtype = x.dtype(),
                               .rows = x.rows(),
                               .D = x.shape(-1),
                               .accumulate_dx = dx.accumulate,
                               .x = x.data(),
                               .s = s.data(),
                               .dy = step.dy().data(),
                               .dx = dx.data(),
                               .ds = ds.data()});
  });
  return y;
}

}  // namespace krait
