// Sizes at which the kernels of distillation are verified and measured.
#include "kernels/common/case.h"

#include "kernels/distill/distill.h"

namespace krait {
namespace {

void add(CaseList& list, DType t, int64_t B, int64_t C, double tau, bool small) {
  const double n = static_cast<double>(B * C), wide = size_of(accum(t));
  // Slack 4: the GPU's exponentials and logarithms are good to 2 units in the last place, glibc's
  // to 1, and the logarithms of both answers are subtracted.
  CaseInfo info{
      .size = cat("B=", B, " C=", C, " tau=", tau), .dtype = t, .slack = 4, .small = small};
  info.cost = {n * (size_of(t) + wide), 12 * n};
  list.push_back(make_case<KlFwd>(info, [=](CaseMemory& m) {
    return KlFwd{m.dtype(),
                 B,
                 C,
                 tau,
                 m.in("logits", B * C, -6, 6),
                 m.in_accum("teacher", B * C, -6, 6),
                 m.out_accum("loss", 1)};
  }));
  for (bool accumulate : {false, true}) {
    if (accumulate) info.size += " add";
    list.push_back(make_case<KlBwd>(info, [=](CaseMemory& m) {
      return KlBwd{m.dtype(),
                   B,
                   C,
                   tau,
                   accumulate,
                   m.in("logits", B * C, -6, 6),
                   m.in_accum("teacher", B * C, -6, 6),
                   m.in_accum("dloss", 1, 0.5, 1.5),
                   accumulate ? m.inout("dlogits", B * C, -1, 1) : m.out("dlogits", B * C)};
    }));
  }
}

void add_targets(CaseList& list, DType t, int64_t B, int64_t C, bool cosub, bool binary) {
  const double n = static_cast<double>(B * C), wide = size_of(accum(t));
  list.push_back(make_case<LogitTargets>(
      {.size = cat(cosub ? "cosub" : "hard", binary ? " binary" : "", " B=", B, " C=", C),
       .dtype = t,
       .cost = {n * (size_of(t) + wide), 4 * n},
       .slack = 2},  // the GPU's exponential, as above
      [=](CaseMemory& m) {
        return LogitTargets{m.dtype(),
                            cosub ? LogitTargets::Kind::cosub : LogitTargets::Kind::hard,
                            B,
                            C,
                            binary,
                            m.in("logits", B * C, -6, 6),
                            cosub ? m.in_accum("targets", B / 2 * C, -0.5, 1) : nullptr,
                            m.out_accum("out", B * C)};
      }));
}

}  // namespace

void add_distill_cases(CaseList& list) {
  for (DType t : {DType::f32, DType::bf16}) {
    add(list, t, 1, 2, 1, true);
    add(list, t, 31, 10, 1, true);
    add(list, t, 31, 10, 3, true);
    add(list, t, 300, 100, 0.5, true);
    add(list, t, 1024, 10, 1, false);
    add_targets(list, t, 31, 10, false, false);
    add_targets(list, t, 62, 10, true, false);
    add_targets(list, t, 300, 33, true, true);
  }
}

}  // namespace krait
