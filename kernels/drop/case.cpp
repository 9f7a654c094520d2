// Sizes at which drop is verified and measured.
#include "kernels/common/case.h"

#include "kernels/drop/drop.h"

namespace krait {
namespace {

void add(CaseList& list, DType t, int64_t n, int64_t group, float p, bool accumulate, bool small) {
  list.push_back(make_case<Drop>(
      {.size = cat("n=", n, " group=", group, " p=", p, accumulate ? " add" : ""),
       .dtype = t,
       .cost = {static_cast<double>(n * size_of(t)) * (accumulate ? 3 : 2), static_cast<double>(n)},
       .small = small},
      [=](CaseMemory& m) {
        StepState state;
        state.seed = 0x123456789abcdefULL;
        state.step = (uint64_t{1} << 32) + 17;  // both halves of the step count
        return Drop{m.dtype(),
                    n,
                    group,
                    p,
                    7,
                    accumulate,
                    m.raw(state),
                    m.in("x", n, -2, 2),
                    accumulate ? m.inout("y", n, -1, 1) : m.out("y", n)};
      }));
}

}  // namespace

void add_drop_cases(CaseList& list) {
  for (DType t : {DType::f32, DType::bf16}) {
    for (bool accumulate : {false, true}) {
      add(list, t, 1, 1, 0.5f, accumulate, true);
      add(list, t, 5003, 1, 0.1f, accumulate, true);
      add(list, t, 31 * 65, 31, 0.3f, accumulate, true);
      add(list, t, 9 * 65 * 33, 65 * 33, 0.3f, accumulate, true);
      add(list, t, 7 * 256 - 100, 256, 0.3f, accumulate, true);  // the last group is cut off
    }
    add(list, t, 512 * 64 * 192, 64 * 192, 0.1f, false, false);
    add(list, t, 512 * 64 * 192, 1, 0.1f, false, false);
  }
}

}  // namespace krait
