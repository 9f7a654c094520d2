// Sizes at which cross_entropy is verified and measured. Losses and gradients are compared here;
// the hits are compared in tests/loss_op_test.cpp.
#include "kernels/common/case.h"

#include "kernels/cross_entropy/cross_entropy.h"

namespace krait {
namespace {

void add(CaseList& list, DType t, int64_t B, int64_t C, bool small) {
  const double n = static_cast<double>(B * C), wide = size_of(accum(t));
  // Slack 2: the GPU's expf is good to 2 units in the last place, glibc's to 1; and where B = C = 1
  // the reference happens to make no error at all.
  CaseInfo info{
      .size = cat("B=", B, " C=", C), .dtype = t, .slack = 2, .small = small, .mean = true};
  info.cost = {n * (size_of(t) + wide), 12 * n};
  list.push_back(make_case<CrossEntropyFwd>(info, [=](CaseMemory& m) {
    return CrossEntropyFwd{m.dtype(),
                           B,
                           C,
                           m.in("logits", B * C, -9, 9),
                           m.in_accum("targets", B * C, 0, 1),
                           m.out_accum("loss", 1),
                           m.raw(Totals())};
  }));
  info.cost = {n * (2 * size_of(t) + wide), 12 * n};
  for (bool accumulate : {false, true}) {
    if (accumulate) info.size += " add";
    list.push_back(make_case<CrossEntropyBwd>(info, [=](CaseMemory& m) {
      return CrossEntropyBwd{
          m.dtype(),
          B,
          C,
          accumulate,
          m.in("logits", B * C, -9, 9),
          m.in_accum("targets", B * C, 0, 1),
          m.in_accum("dloss", 1, 0.5, 1.5),
          accumulate ? m.inout("dlogits", B * C, -1, 1) : m.out("dlogits", B * C)};
    }));
  }
}

}  // namespace

void add_cross_entropy_cases(CaseList& list) {
  for (DType t : {DType::f32, DType::bf16}) {
    add(list, t, 1, 2, true);
    add(list, t, 31, 10, true);
    add(list, t, 65, 33, true);
    add(list, t, 300, 100, true);
    add(list, t, 5, 1000, true);
    add(list, t, 512, 10, false);
    add(list, t, 128, 1000, false);
  }
}

void add_cross_entropy_huge(CaseList& list, int64_t elements) {
  for (DType t : {DType::f32, DType::bf16})
    add_repeated(list, elements / (31 * 100) + 1,
                 [=](CaseList& to, int64_t times) { add(to, t, 31 * times, 100, true); });
}

}  // namespace krait
