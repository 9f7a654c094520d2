// Sizes at which binary cross-entropy is verified and measured.
#include "kernels/common/case.h"

#include "kernels/bce/bce.h"

namespace krait {
namespace {

void add(CaseList& list, DType t, int64_t B, int64_t C, bool binary, bool small) {
  const double n = static_cast<double>(B * C), wide = size_of(accum(t));
  const double low = binary ? -1 : 0;  // some targets are 0 or less
  // Slack 2: the GPU's exponentials and logarithms are good to 2 units in the last place, glibc's
  // to 1; and where B = C = 1 the reference happens to make no error at all.
  CaseInfo info{.size = cat("B=", B, " C=", C, binary ? " binary" : ""),
                .dtype = t,
                .slack = 2,
                .small = small};
  info.cost = {n * (size_of(t) + wide), 8 * n};
  list.push_back(make_case<BceFwd>(info, [=](CaseMemory& m) {
    return BceFwd{m.dtype(),
                  B,
                  C,
                  binary,
                  m.in("logits", B * C, -9, 9),
                  m.in_accum("targets", B * C, low, 1),
                  m.out_accum("loss", 1)};
  }));
  info.cost = {n * (2 * size_of(t) + wide), 8 * n};
  for (bool accumulate : {false, true}) {
    if (accumulate) info.size += " add";
    list.push_back(make_case<BceBwd>(info, [=](CaseMemory& m) {
      return BceBwd{m.dtype(),
                    B,
                    C,
                    binary,
                    accumulate,
                    m.in("logits", B * C, -9, 9),
                    m.in_accum("targets", B * C, low, 1),
                    m.in_accum("dloss", 1, 0.5, 1.5),
                    accumulate ? m.inout("dlogits", B * C, -1, 1) : m.out("dlogits", B * C)};
    }));
  }
}

}  // namespace

void add_bce_cases(CaseList& list) {
  for (DType t : {DType::f32, DType::bf16}) {
    add(list, t, 1, 2, false, true);
    add(list, t, 31, 10, false, true);
    add(list, t, 31, 10, true, true);
    add(list, t, 300, 100, false, true);
    add(list, t, 1024, 10, false, false);
  }
}

}  // namespace krait
