// Sizes at which SGD is verified and measured.
#include "kernels/common/case.h"

#include <cmath>

#include "kernels/sgd/sgd.h"

namespace krait {
namespace {

struct How {
  int64_t n, n_decay;
  bool nesterov = true, ema = true, copy = true;
  double clip = 1, norm = 2.5, momentum = 0.9;
  int32_t halted = 0;
  float loss = 0, ema_share = 0;
  bool rates = false;
};

std::unique_ptr<KernelCase> sgd_case(const std::string& what, DType t, How h, bool small = true) {
  const double n = static_cast<double>(h.n);
  const double per =
      (2 * 3 + (h.ema ? 2 : 0)) * 4.0 + (h.copy ? static_cast<double>(size_of(t)) : 0.0);
  return make_case<Sgd>({.size = cat("n=", h.n, " decayed=", h.n_decay, what),
                         .dtype = t,
                         .cost = {per * n, 8 * n},
                         .small = small},
                        [=](CaseMemory& m) {
                          const StepState state{.lr = 1e-2f, .ema_share = h.ema_share};
                          const StepResult result{.loss = h.loss,
                                                  .grad_norm = static_cast<float>(h.norm),
                                                  .halted = h.halted};
                          return Sgd{.dtype = m.dtype(),
                                     .n = h.n,
                                     .n_decay = h.n_decay,
                                     .momentum = h.momentum,
                                     .weight_decay = 0.05,
                                     .nesterov = h.nesterov,
                                     .clip = h.clip,
                                     .ema_decay = 0.99,
                                     .state = m.raw(state),
                                     .result = m.raw(result),
                                     .rates = h.rates ? m.raw(some_rates())->data() : nullptr,
                                     .master = m.inout_accum("master", h.n, -1, 1),
                                     .grad = m.inout_accum("grad", h.n, -1, 1),
                                     .m = m.inout_accum("m", h.n, -1, 1),
                                     .ema = h.ema ? m.inout_accum("ema", h.n, -1, 1) : nullptr,
                                     .copy = h.copy ? m.inout("copy", h.n, -1, 1) : nullptr};
                        });
}

}  // namespace

void add_sgd_cases(CaseList& list) {
  for (DType t : {DType::f32, DType::bf16}) {
    list.push_back(sgd_case("", t, {.n = 20032, .n_decay = 8256}));
    list.push_back(sgd_case(" odd", t, {.n = 999, .n_decay = 501}));
    list.push_back(sgd_case("", t, {.n = 1, .n_decay = 0}));
    list.push_back(
        sgd_case(" momentum, no ema, no clipping", t,
                 {.n = 4096, .n_decay = 4096, .nesterov = false, .ema = false, .clip = 0}));
    list.push_back(sgd_case(" plain, norm below clip, no copy", t,
                            {.n = 515, .n_decay = 100, .copy = false, .norm = 0.5, .momentum = 0}));
    list.push_back(
        sgd_case(" average warming up", t, {.n = 1000, .n_decay = 400, .ema_share = 0.25f}));
    list.push_back(sgd_case(" rates", t, {.n = 999, .n_decay = 501, .rates = true}));
    list.push_back(sgd_case(" halted", t, {.n = 1000, .n_decay = 400, .halted = 1}));
    list.push_back(sgd_case(" norm is NaN", t, {.n = 1000, .n_decay = 400, .norm = NAN}));
    list.push_back(sgd_case(" loss is infinite", t, {.n = 1000, .n_decay = 400, .loss = INFINITY}));
    list.push_back(sgd_case(" Vim-tiny", t, {.n = 6796800, .n_decay = 6700032}, false));
  }
}

}  // namespace krait
