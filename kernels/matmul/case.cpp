// Sizes at which the matrix product is verified and measured.
#include "kernels/common/case.h"

#include "kernels/matmul/matmul.h"

namespace krait {
namespace {

// How far apart rows are.
enum class Rows : uint8_t {
  packed,
  strided,  // 8 elements of something else between them: columns of a wider matrix
  aligned,  // every row starts at a multiple of 16 bytes
  far,      // aligned, and 32 elements of something else between rows
};

struct Size {
  int64_t m, n, k;
  bool ta, tb, add, wide_c;
  Rows rows;
  int64_t count = 1;
};

void add(CaseList& list, const Size& s, DType t, bool small) {
  const int64_t a_rows = s.ta ? s.k : s.m, a_cols = s.ta ? s.m : s.k;
  const int64_t b_rows = s.tb ? s.n : s.k, b_cols = s.tb ? s.k : s.n;
  auto apart = [&](int64_t columns) {
    const int64_t unit = 16 / static_cast<int64_t>(size_of(t));
    const int64_t aligned = (columns + unit - 1) / unit * unit;
    return s.rows == Rows::strided   ? columns + 8
           : s.rows == Rows::aligned ? aligned
           : s.rows == Rows::far     ? aligned + 32
                                     : columns;
  };
  const int64_t a_row = apart(a_cols), b_row = apart(b_cols);
  // Gradients of parameters (C wide) lie packed where the operands are columns of others.
  const int64_t c_row = s.wide_c && s.rows == Rows::far ? s.n : apart(s.n);
  const double c_bytes = size_of(s.wide_c ? accum(t) : t) * (s.add ? 2.0 : 1.0);  // read, written
  const double bytes = double(s.m * s.k + s.k * s.n) * size_of(t) + double(s.m * s.n) * c_bytes;
  // Products lie one after the other, the second operands 8 elements apart.
  const int64_t a_next = a_rows * a_row, b_next = b_rows * b_row + (s.count > 1 ? 8 : 0),
                c_next = s.m * c_row;
  // Slack 2 for long sums that stay f32: tensor cores round a sum towards zero, not to the nearest
  // ("Numerical behavior of NVIDIA tensor cores", Fasi et al. 2021), which the reference does not.
  list.push_back(make_case<Matmul>(
      {.size = cat("m=", s.m, " n=", s.n, " k=", s.k, s.ta ? " A'" : "", s.tb ? " B'" : "",
                   s.add ? " add" : "", s.wide_c ? " C accum" : "",
                   s.rows == Rows::strided   ? " strided"
                   : s.rows == Rows::aligned ? " aligned"
                   : s.rows == Rows::far     ? " far"
                                             : "",
                   s.count > 1 ? cat(" x ", s.count) : ""),
       .dtype = t,
       .cost = {bytes * double(s.count), 2.0 * s.m * s.n * s.k * double(s.count), true},
       .slack = s.wide_c && t == DType::bf16 && s.k > 256 ? 2.0 : 1.0,
       .small = small},
      [=](CaseMemory& m) {
        const int64_t count = s.count * c_next;
        // Between the rows of C nothing is written: it starts with values, which must stay.
        void* c = s.wide_c                ? m.inout_accum("c", count, -1, 1)
                  : s.add || c_row != s.n ? m.inout("c", count, -1, 1)
                                          : m.out("c", count);
        return Matmul{.dtype = m.dtype(),
                      .c_dtype = s.wide_c ? m.accum_dtype() : m.dtype(),
                      .m = s.m,
                      .n = s.n,
                      .k = s.k,
                      .trans_a = s.ta,
                      .trans_b = s.tb,
                      .accumulate = s.add,
                      .a = m.in("a", s.count * a_next, -1, 1),
                      .b = m.in("b", s.count * b_next, -1, 1),
                      .c = c,
                      .a_row = a_row,
                      .b_row = b_row,
                      .c_row = c_row,
                      .count = s.count,
                      .a_next = a_next,
                      .b_next = b_next,
                      .c_next = c_next};
      }));
}

}  // namespace

void add_matmul_size(CaseList& list, UserSizes& sizes) {
  const int64_t most = 1 << 20;
  const Size s{.m = sizes.take("m", 4096, most),
               .n = sizes.take("n", 4096, most),
               .k = sizes.take("k", 4096, most),
               .ta = sizes.take("ta", 0, 1, 0) == 1,
               .tb = sizes.take("tb", 0, 1, 0) == 1,
               .add = false,
               .wide_c = false,
               .rows = sizes.take("aligned", 0, 1, 0) == 1 ? Rows::aligned : Rows::packed};
  for (DType t : {DType::f32, DType::bf16}) add(list, s, t, false);
}

void add_matmul_cases(CaseList& list) {
  constexpr Rows packed = Rows::packed, strided = Rows::strided, aligned = Rows::aligned,
                 far = Rows::far;
  for (DType t : {DType::f32, DType::bf16}) {
    add(list, {1, 1, 1, false, false, false, false, packed}, t, true);
    add(list, {33, 44, 31, false, true, false, false, packed}, t, true);
    add(list, {33, 44, 31, false, true, false, false, aligned}, t, true);
    add(list, {65, 24, 96, false, true, true, false, strided}, t, true);
    add(list, {65, 96, 24, false, false, false, false, strided}, t, true);
    add(list, {65, 32, 11, false, false, true, false, aligned}, t, true);
    add(list, {24, 97, 130, true, false, true, true, packed}, t, true);
    add(list, {11, 36, 130, true, false, true, true, aligned}, t, true);
    // Sums longer than a tile's; more rows and columns than a block, and both odd.
    add(list, {203, 45, 300, false, true, true, false, strided}, t, true);
    add(list, {7, 401, 513, false, false, false, false, packed}, t, true);
    add(list, {205, 39, 517, true, false, true, true, strided}, t, true);
    add(list, {50, 12, 300, true, true, false, false, packed}, t, true);
    // Products with one narrow side: x_proj, its dx and its dw, dt_proj's dw. One row and one more
    // than tiles of rows; 64 columns and few; what lies between rows must not count.
    for (int64_t rows : {1, 70}) {
      add(list, {rows, 44, 384, false, true, false, false, aligned}, t, true);
      add(list, {rows, 384, 44, false, false, true, false, aligned}, t, true);
      add(list, {rows, 384, 44, false, false, false, false, far}, t, true);
      add(list, {44, 384, rows, true, false, true, true, far}, t, true);
      add(list, {384, 12, rows, true, false, true, true, far}, t, true);
    }
    // Those of both sides at once.
    add(list, {70, 44, 384, false, true, false, false, aligned, 2}, t, true);
    add(list, {70, 384, 44, false, false, true, false, aligned, 2}, t, true);
    add(list, {70, 384, 44, false, false, false, false, far, 3}, t, true);
    add(list, {44, 384, 667, true, false, true, true, far, 2}, t, true);
    add(list, {384, 12, 70, true, false, true, true, far, 3}, t, true);
    add(list, {33, 21, 31, false, true, false, false, packed, 3}, t, true);
    add(list, {97, 64, 32, false, true, false, false, far}, t, true);
    add(list, {257, 12, 96, false, true, false, false, strided}, t, true);
    add(list, {97, 32, 64, false, false, true, false, far}, t, true);
    add(list, {257, 96, 12, false, false, true, false, strided}, t, true);
    add(list, {56, 136, 667, true, false, true, true, far}, t, true);
    add(list, {72, 20, 667, true, false, true, true, far}, t, true);
    // Vim-tiny, batch 512, 64 tokens: in_proj forward, its weight gradient, dt_proj.
    add(list, {512 * 64, 768, 192, false, true, false, false, packed}, t, false);
    add(list, {768, 192, 512 * 64, true, false, true, true, packed}, t, false);
    add(list, {512 * 64, 384, 12, false, true, false, false, packed}, t, false);
    // x_proj, its dx and its dw: rows of 44 elements, packed and as the model has them.
    for (Rows rows : {packed, aligned}) {
      add(list, {512 * 64, 44, 384, false, true, false, false, rows}, t, false);
      add(list, {512 * 64, 384, 44, false, false, true, false, rows}, t, false);
      add(list, {44, 384, 512 * 64, true, false, true, true, rows}, t, false);
    }
    // dt_proj's dw: dt is the first 12 of 48 columns.
    add(list, {384, 12, 512 * 64, true, false, true, true, far}, t, false);
    // Both sides at batch 128.
    add(list, {128 * 64, 44, 384, false, true, false, false, aligned, 2}, t, false);
    add(list, {128 * 64, 384, 44, false, false, true, false, aligned, 2}, t, false);
    add(list, {44, 384, 128 * 64, true, false, true, true, far, 2}, t, false);
    add(list, {384, 12, 128 * 64, true, false, true, true, far, 2}, t, false);
    // More rows than a GPU works on at a time, in no even number; width 768.
    add(list, {197 * 256 + 5, 44, 384, false, true, false, false, aligned}, t, false);
    add(list, {197 * 256 + 5, 384, 44, false, false, true, false, aligned}, t, false);
    add(list, {44, 384, 197 * 256 + 5, true, false, true, true, far}, t, false);
    add(list, {197 * 128, 56, 768, false, true, false, false, aligned}, t, false);
    add(list, {197 * 128, 768, 56, false, false, true, false, aligned}, t, false);
    add(list, {56, 768, 197 * 128, true, false, true, true, far}, t, false);
  }
}

void add_matmul_huge(CaseList& list, int64_t elements) {
  // The first operand is huge, or C, or the sum runs over so many rows.
  for (DType t : {DType::f32, DType::bf16})
    for (const Size& s : {Size{33, 44, 384, false, true, false, false, Rows::packed},
                          Size{33, 384, 44, false, false, false, false, Rows::packed},
                          Size{33, 392, 200, false, true, false, false, Rows::packed},
                          Size{44, 3000, 33, true, false, true, true, Rows::packed}})
      add_repeated(list, elements / (33 * std::max(s.n, s.ta ? s.n : s.k)) + 1,
                   [=](CaseList& to, int64_t times) {
                     Size z = s;
                     (s.ta ? z.k : z.m) *= times;
                     add(to, z, t, true);
                   });
}

}  // namespace krait
