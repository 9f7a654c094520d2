// Sizes at which the matrix product is verified and measured.
#include "kernels/common/case.h"

#include "kernels/matmul/matmul.h"

namespace krait {
namespace {

struct Size {
  int64_t m, n, k;
  bool ta, tb, add, wide_c, strided;
};

void add(CaseList& list, const Size& s, DType t, bool small) {
  const int64_t a_rows = s.ta ? s.k : s.m, a_cols = s.ta ? s.m : s.k;
  const int64_t b_rows = s.tb ? s.n : s.k, b_cols = s.tb ? s.k : s.n;
  const int64_t gap = s.strided ? 8 : 0;
  const double bytes = double(s.m * s.k + s.k * s.n + s.m * s.n) * size_of(t);
  list.push_back(make_case<Matmul>(
      {.size = cat("m=", s.m, " n=", s.n, " k=", s.k, s.ta ? " A'" : "", s.tb ? " B'" : "",
                   s.add ? " add" : "", s.wide_c ? " C accum" : "", s.strided ? " strided" : ""),
       .dtype = t,
       .cost = {bytes, 2.0 * s.m * s.n * s.k, true},
       .small = small},
      [=](CaseMemory& m) {
        const int64_t count = s.m * (s.n + gap);
        // Strided C is only partly written: it starts with values, which must stay.
        void* c = s.wide_c             ? m.inout_accum("c", count, -1, 1)
                  : s.add || s.strided ? m.inout("c", count, -1, 1)
                                       : m.out("c", count);
        return Matmul{.dtype = m.dtype(),
                      .c_dtype = s.wide_c ? m.accum_dtype() : m.dtype(),
                      .m = s.m,
                      .n = s.n,
                      .k = s.k,
                      .trans_a = s.ta,
                      .trans_b = s.tb,
                      .accumulate = s.add,
                      .a = m.in("a", a_rows * (a_cols + gap), -1, 1),
                      .b = m.in("b", b_rows * (b_cols + gap), -1, 1),
                      .c = c,
                      .a_row = a_cols + gap,
                      .b_row = b_cols + gap,
                      .c_row = s.n + gap};
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
               .strided = false};
  for (DType t : {DType::f32, DType::bf16}) add(list, s, t, false);
}

void add_matmul_cases(CaseList& list) {
  for (DType t : {DType::f32, DType::bf16}) {
    add(list, {1, 1, 1, false, false, false, false, false}, t, true);
    add(list, {33, 44, 31, false, true, false, false, false}, t, true);
    add(list, {65, 24, 96, false, true, true, false, true}, t, true);
    add(list, {65, 96, 24, false, false, false, false, true}, t, true);
    add(list, {24, 97, 130, true, false, true, true, false}, t, true);
    // Vim-tiny, batch 512, 64 tokens: in_proj forward, its weight gradient, dt_proj.
    add(list, {512 * 64, 768, 192, false, true, false, false, false}, t, false);
    add(list, {768, 192, 512 * 64, true, false, true, true, false}, t, false);
    add(list, {512 * 64, 384, 12, false, true, false, false, false}, t, false);
  }
}

}  // namespace krait
