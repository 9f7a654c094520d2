// Sizes at which AdamW is verified and measured.
#include "kernels/common/case.h"

#include "kernels/adamw/adamw.h"

namespace krait {
namespace {

struct How {
  int64_t n, n_decay;
  bool ema = true, copy = true;
  double clip = 1, norm = 2.5;
  int32_t halted = 0;
  bool zero_grad = true, coupled = false;
  float ema_share = 0;
  bool rates = false;
};

std::unique_ptr<KernelCase> adamw_case(const std::string& what, DType t, How h, bool small = true) {
  const double per = (2 * 3 + 1 + (h.zero_grad ? 1 : 0) + (h.ema ? 2 : 0)) * 4.0 +
                     (h.copy ? static_cast<double>(size_of(t)) : 0.0);
  const double n = static_cast<double>(h.n);
  return make_case<AdamW>(
      {.size = cat("n=", h.n, " decayed=", h.n_decay, what),
       .dtype = t,
       .cost = {per * n, 16 * n},
       .small = small},
      [=](CaseMemory& m) {
        const StepState state{
            .lr = 1e-2f, .correction1 = 3.7f, .correction2 = 250.0f, .ema_share = h.ema_share};
        const StepResult result{.grad_norm = static_cast<float>(h.norm), .halted = h.halted};
        return AdamW{.dtype = m.dtype(),
                     .n = h.n,
                     .n_decay = h.n_decay,
                     .beta1 = 0.9,
                     .beta2 = 0.999,
                     .eps = 1e-8,
                     .weight_decay = 0.05,
                     .clip = h.clip,
                     .ema_decay = 0.99,
                     .coupled = h.coupled,
                     .zero_grad = h.zero_grad,
                     .state = m.raw(state),
                     .result = m.raw(result),
                     .rates = h.rates ? m.raw(some_rates())->data() : nullptr,
                     .master = m.inout_accum("master", h.n, -1, 1),
                     .grad = m.inout_accum("grad", h.n, -1, 1),
                     .m = m.inout_accum("m", h.n, -0.1, 0.1),
                     .v = m.inout_accum("v", h.n, 1e-4, 1e-2),
                     .ema = h.ema ? m.inout_accum("ema", h.n, -1, 1) : nullptr,
                     .copy = h.copy ? m.inout("copy", h.n, -1, 1) : nullptr};
      });
}

}  // namespace

void add_adamw_cases(CaseList& list) {
  for (DType t : {DType::f32, DType::bf16}) {
    list.push_back(adamw_case("", t, {.n = 20032, .n_decay = 8256}));
    list.push_back(adamw_case(" odd", t, {.n = 999, .n_decay = 501}));
    list.push_back(adamw_case("", t, {.n = 1, .n_decay = 0}));
    list.push_back(adamw_case(" Adam, average warming up", t,
                              {.n = 2052, .n_decay = 1024, .coupled = true, .ema_share = 0.3f}));
    list.push_back(
        adamw_case(" no ema, no clipping, gradient kept", t,
                   {.n = 4096, .n_decay = 4096, .ema = false, .clip = 0, .zero_grad = false}));
    list.push_back(adamw_case(" norm below clip, no copy", t,
                              {.n = 515, .n_decay = 100, .copy = false, .norm = 0.5}));
    list.push_back(adamw_case(" rates", t, {.n = 4032, .n_decay = 1984, .rates = true}));
    list.push_back(adamw_case(" rates, Adam, odd", t,
                              {.n = 999, .n_decay = 501, .coupled = true, .rates = true}));
    list.push_back(adamw_case(" halted", t, {.n = 1000, .n_decay = 400, .halted = 1}));
    list.push_back(
        adamw_case(" norm is infinite", t, {.n = 1000, .n_decay = 400, .norm = INFINITY}));
    list.push_back(adamw_case(" norm is NaN", t, {.n = 1000, .n_decay = 400, .norm = NAN}));
    list.push_back(adamw_case(" Vim-tiny", t, {.n = 6796800, .n_decay = 6700032}, false));
  }
}

}  // namespace krait
