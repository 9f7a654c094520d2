// Matrix products: linear, and split, which costs nothing.
#include "engine/ops/matmul.h"
#include "engine/ops/ops.h"
#include "kernels/matmul/matmul.h"
#include "kernels/reduce/reduce.h"

namespace krait {
namespace {

Matmul of(const Context& ctx, const Product& p, bool trans_a, bool trans_b, bool add) {
  const auto& [a, b, c] = p;
  return {.dtype = a.dtype(),
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
          .c_row = c.row_stride()};
}

bool same_sizes(const Matmul& x, const Matmul& y) {
  return x.dtype == y.dtype && x.c_dtype == y.c_dtype && x.m == y.m && x.n == y.n && x.k == y.k &&
         x.a_row == y.a_row && x.b_row == y.b_row && x.c_row == y.c_row;
}
// Elements from one operand to the other. Memory of a type starts at a multiple of its size.
int64_t distance(const void* from, const void* to, DType t) {
  return (reinterpret_cast<intptr_t>(to) - reinterpret_cast<intptr_t>(from)) /
         static_cast<int64_t>(size_of(t));
}

}  // namespace

void matmul(Context& ctx, const Tensor& a, bool trans_a, const Tensor& b, bool trans_b,
            const Tensor& c, bool add) {
  ctx.launch(of(ctx, {a, b, c}, trans_a, trans_b, add));
}

void matmul(Context& ctx, const std::vector<Product>& products, bool trans_a, bool trans_b,
            bool add) {
  Matmul first = of(ctx, products[0], trans_a, trans_b, add);
  if (products.size() == 2) {
    const Matmul second = of(ctx, products[1], trans_a, trans_b, add);
    if (same_sizes(first, second)) {
      first.count = 2;
      first.a_next = distance(first.a, second.a, first.dtype);
      first.b_next = distance(first.b, second.b, first.dtype);
      first.c_next = distance(first.c, second.c, first.c_dtype);
    } else {
      ctx.launch(first);
      first = second;
    }
  }
  ctx.launch(first);
}
void matmul(Context& ctx, const std::vector<WantedProduct>& products, bool trans_a, bool trans_b) {
  std::vector<Product> same;  // that may run at the same time
  for (const WantedProduct& p : products) {
    if (!p.c) continue;
    const Product one{p.a, p.b, p.c.grad};
    if (products.size() == 2 && products[0].c && products[1].c &&
        products[0].c.accumulate == products[1].c.accumulate &&
        products[0].c.data() != products[1].c.data())
      same.push_back(one);
    else
      matmul(ctx, {one}, trans_a, trans_b, p.c.accumulate);
  }
  if (!same.empty()) matmul(ctx, same, trans_a, trans_b, products[0].c.accumulate);
}

void matmul_beside(Context& ctx, const std::vector<WantedProduct>& products) {
  std::vector<Tensor> uses, gradients;
  bool given = true;  // else something may read them before the end
  for (const WantedProduct& p : products) {
    if (!p.c) continue;
    uses.push_back(p.a), uses.push_back(p.b);
    gradients.push_back(p.c.grad);
    given = given && p.c.given;
  }
  if (gradients.empty()) return;
  if (!given) return matmul(ctx, products, true, false);
  ctx.beside(gradients, std::move(uses), [&] { matmul(ctx, products, true, false); });
}

namespace {

// The checks of linear and its result: of type `type`, rows `row_stride` apart (-1: packed).
Tensor result_of(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& b, DType type,
                 int64_t row_stride) {
  const int64_t N = w.shape(0), K = x.shape(-1);
  KRAIT_CHECK(w.shape() == Shape({N, K}), "linear: w is ", w.shape(), ", x is ", x.shape());
  KRAIT_CHECK(w.dtype() == x.dtype(), "linear: w is ", name_of(w.dtype()), ", x is ",
              name_of(x.dtype()));
  KRAIT_CHECK(!b || b.shape() == Shape({N}), "linear: b is ", b.shape(), ", w is ", w.shape());
  return ctx.empty(x.shape().with_last(N), type, row_stride);
}

// y of type `type`, its rows `row_stride` apart (-1: packed).
Tensor linear_into(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& b, DType type,
                   int64_t row_stride) {
  const int64_t N = w.shape(0);
  Tensor y = result_of(ctx, x, w, b, type, row_stride);
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
    if (auto dw = step.into(w)) matmul_beside(ctx, {{dy, x, dw}});
    if (auto dx = step.into(x)) matmul(ctx, dy, false, w, false, dx.grad, dx.accumulate);
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

int64_t aligned_row(const Tensor& x, const Tensor& w) {
  const int64_t N = w.shape(0), unit = 16 / static_cast<int64_t>(size_of(x.dtype()));
  return (N + unit - 1) / unit * unit;
}

}  // namespace

Tensor linear(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& b, bool wide) {
  return linear_into(ctx, x, w, b, wide ? accum(x.dtype()) : x.dtype(), -1);
}
Tensor linear_aligned(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& b) {
  return linear_into(ctx, x, w, b, x.dtype(), aligned_row(x, w));
}
Tensors linear_aligned(Context& ctx, const Tensors& x, const Tensors& w) {
  KRAIT_CHECK(x.size() == w.size() && 1 <= x.size() && x.size() <= 2, "linear_aligned: ", x.size(),
              " inputs, ", w.size(), " weights");
  if (x.size() == 1) return {linear_aligned(ctx, x[0], w[0])};
  Tensors y;
  std::vector<Product> products;
  for (size_t i = 0; i < x.size(); ++i) {
    y.push_back(result_of(ctx, x[i], w[i], {}, x[i].dtype(), aligned_row(x[i], w[i])));
    products.push_back({x[i], w[i], y[i]});
  }
  matmul(ctx, products, false, true, false);
  ctx.record_op("linear", {&x[0], &w[0], &x[1], &w[1]}, {&y[0], &y[1]},
                [x, w](Context& ctx, Tape::Step& step) {
                  std::vector<WantedProduct> dx, dw;
                  for (size_t i = 0; i < x.size(); ++i) {
                    const Tensor dy = step.dy(static_cast<int>(i));
                    if (!dy) continue;
                    dx.push_back({dy, w[i], step.into(x[i])});
                    dw.push_back({dy, x[i], step.into(w[i])});
                  }
                  matmul_beside(ctx, dw);
                  matmul(ctx, dx, false, false);
                });
  return y;
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
