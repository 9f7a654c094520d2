// Sizes at which the transposition is verified and measured.
#include "kernels/common/case.h"

#include "kernels/transpose/transpose.h"

namespace krait {
namespace {

void add(CaseList& list, DType t, int64_t B, int64_t M, int64_t N, int64_t K,
         bool accumulate = false, bool small = true) {
  const int64_t n = B * M * N * K;
  const CaseInfo info{.size = cat("B=", B, " M=", M, " N=", N, " K=", K, accumulate ? " add" : ""),
                      .dtype = t,
                      .cost = {double(n) * size_of(t) * (accumulate ? 3 : 2), 0},
                      .small = small};
  list.push_back(make_case<Transpose>(info, [=](CaseMemory& m) {
    return Transpose{.dtype = m.dtype(),
                     .B = B,
                     .M = M,
                     .N = N,
                     .K = K,
                     .accumulate = accumulate,
                     .x = m.in("x", n, -1, 1),
                     .y = accumulate ? m.inout("y", n, -1, 1) : m.out("y", n)};
  }));
}

}  // namespace

void add_transpose_cases(CaseList& list) {
  for (DType t : {DType::f32, DType::bf16}) {
    add(list, t, 3, 3, 35, 1);
    add(list, t, 2, 5, 7, 6);
    add(list, t, 2, 4, 4, 24);
    add(list, t, 3, 6, 5, 16, true);
    add(list, t, 1, 1, 1, 1, true);
    add(list, t, 512, 3, 1024, 1, false, false);
    add(list, t, 512, 8, 8, 192, false, false);
  }
}

void add_transpose_huge(CaseList& list, int64_t elements) {
  for (DType t : {DType::f32, DType::bf16})
    add_repeated(list, elements / (3 * 5 * 7 * 24) + 1,
                 [=](CaseList& to, int64_t times) { add(to, t, 3 * times, 5, 7, 24); });
}

}  // namespace krait
