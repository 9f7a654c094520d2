// Sizes at which the pointwise kernels are verified and measured.
#include "kernels/common/case.h"

#include "kernels/elementwise/elementwise.h"

namespace krait {
namespace {

void add_unary(CaseList& list, DType t, Unary f, int64_t n) {
  const char* what = f == Unary::silu ? "silu n=" : f == Unary::gelu ? "gelu n=" : "softplus n=";
  // Slack 2: the GPU's expf, log1pf and erff are good to 2 units in the last place, glibc's to 1.
  const CaseInfo info{.size = cat(what, n),
                      .dtype = t,
                      .cost = {2.0 * double(n) * size_of(t), 8.0 * double(n)},
                      .slack = 2};
  list.push_back(make_case<UnaryFwd>(info, [=](CaseMemory& m) {
    return UnaryFwd{m.dtype(), f, n, m.in("x", n, -30, 30), m.out("y", n)};
  }));
  for (bool add : {false, true})
    list.push_back(make_case<UnaryBwd>(info, [=](CaseMemory& m) {
      return UnaryBwd{m.dtype(),
                      f,
                      n,
                      add,
                      m.in("x", n, -30, 30),
                      m.in("dy", n, -1, 1),
                      add ? m.inout("dx", n, -1, 1) : m.out("dx", n)};
    }));
}

void add_scale(CaseList& list, DType t, int64_t rows, int64_t D) {
  list.push_back(make_case<ScaleColumnsFwd>(
      {.size = cat("rows=", rows, " D=", D), .dtype = t}, [=](CaseMemory& m) {
        return ScaleColumnsFwd{
            m.dtype(),           rows, D, m.in("x", rows * D, -1, 1), m.in_accum("s", D, 0.5, 1.5),
            m.out("y", rows * D)};
      }));
  for (bool add : {false, true})
    list.push_back(make_case<ScaleColumnsBwd>(
        {.size = cat("rows=", rows, " D=", D, add ? " add" : ""), .dtype = t}, [=](CaseMemory& m) {
          return ScaleColumnsBwd{m.dtype(),
                                 rows,
                                 D,
                                 add,
                                 m.in("x", rows * D, -1, 1),
                                 m.in_accum("s", D, 0.5, 1.5),
                                 m.in("dy", rows * D, -1, 1),
                                 add ? m.inout("dx", rows * D, -1, 1) : m.out("dx", rows * D),
                                 m.inout_accum("ds", D, -1, 1)};
        }));
}

}  // namespace

void add_elementwise_cases(CaseList& list) {
  for (DType t : {DType::f32, DType::bf16})
    for (Unary f : {Unary::silu, Unary::softplus, Unary::gelu})
      for (int64_t n : {1, 1000, 40000}) add_unary(list, t, f, n);
  for (DType t : {DType::f32, DType::bf16}) {
    const int64_t n = 3001;
    list.push_back(
        make_case<Add>({.size = "n=3001", .dtype = t, .cost = {3.0 * n * size_of(t), 2.0 * n}},
                       [=](CaseMemory& m) {
                         return Add{m.dtype(),           m.dtype(),           m.dtype(),    n, 0.5,
                                    m.in("a", n, -1, 1), m.in("b", n, -1, 1), m.out("y", n)};
                       }));
    list.push_back(
        make_case<Add>({.size = "n=3001 to accum, no b", .dtype = t}, [=](CaseMemory& m) {
          return Add{m.accum_dtype(),     m.dtype(), m.dtype(),          n, 2.0,
                     m.in("a", n, -1, 1), nullptr,   m.out_accum("y", n)};
        }));
    for (int64_t D : {7, 192}) add_scale(list, t, 133, D);
  }
}

void add_elementwise_huge(CaseList& list, int64_t elements) {
  for (DType t : {DType::f32, DType::bf16}) {
    add_repeated(list, elements / 1001 + 1,
                 [=](CaseList& to, int64_t times) { add_unary(to, t, Unary::silu, 1001 * times); });
    add_repeated(list, elements / (31 * 200) + 1,
                 [=](CaseList& to, int64_t times) { add_scale(to, t, 31 * times, 200); });
  }
}

}  // namespace krait
