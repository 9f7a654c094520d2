// Sizes at which rope is verified and measured.
#include "kernels/common/case.h"

#include "kernels/rope/rope.h"

namespace krait {
namespace {

void add(CaseList& list, DType t, int64_t B, int64_t L, int64_t P, int64_t D, bool inverse,
         bool accumulate, bool small) {
  const double n = static_cast<double>(B * L * D);
  list.push_back(make_case<RopeFwd>(
      {.size = cat("B=", B, " L=", L, " P=", P, " D=", D, inverse ? " inverse" : "",
                   accumulate ? " add" : ""),
       .dtype = t,
       .cost = {n * size_of(t) * (accumulate ? 3 : 2), 3 * n},
       .small = small},
      [=](CaseMemory& m) {
        return RopeFwd{m.dtype(),
                       B,
                       L,
                       P,
                       D,
                       inverse,
                       accumulate,
                       m.in("x", B * L * D, -2, 2),
                       m.in_accum("cos", P * D, -1, 1),
                       m.in_accum("sin", P * D, -1, 1),
                       accumulate ? m.inout("y", B * L * D, -1, 1) : m.out("y", B * L * D)};
      }));
}

}  // namespace

void add_rope_cases(CaseList& list) {
  for (DType t : {DType::f32, DType::bf16}) {
    for (bool accumulate : {false, true}) {
      add(list, t, 1, 1, 1, 2, false, accumulate, true);
      add(list, t, 2, 65, 64, 66, true, accumulate, true);
      add(list, t, 3, 31, 31, 10, false, accumulate, true);
      add(list, t, 2, 197, 196, 192, true, accumulate, true);
    }
    add(list, t, 512, 64, 64, 192, false, false, false);
  }
}

void add_rope_huge(CaseList& list, int64_t elements) {
  for (DType t : {DType::f32, DType::bf16})
    add_repeated(list, elements / (3 * 65 * 200) + 1, [=](CaseList& to, int64_t times) {
      add(to, t, 3 * times, 65, 64, 200, false, false, true);
    });
}

}  // namespace krait
