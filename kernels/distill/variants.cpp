// The tables. To add a variant: write it, declare it in rows.h, add a row here. Nothing else.
#include "kernels/distill/rows.h"

namespace krait {

template <>
std::span<const Variant<KlFwd>> variants<KlFwd>() {
  static constexpr Variant<KlFwd> table[] = {
#if KRAIT_CUDA
    {"image_per_thread", Backend::cuda, kl_fwd_image_per_thread, kl_fwd_gpu_fits,
     kl_fwd_image_sums},
#endif
    {"openmp", Backend::cpu, kl_fwd_openmp, nullptr, kl_fwd_image_sums},
    {"reference", Backend::cpu, kl_fwd_reference},
  };
  return table;
}

template <>
std::span<const Variant<KlBwd>> variants<KlBwd>() {
  static constexpr Variant<KlBwd> table[] = {
#if KRAIT_CUDA
    {"image_per_thread", Backend::cuda, kl_bwd_image_per_thread, kl_bwd_gpu_fits},
#endif
    {"openmp", Backend::cpu, kl_bwd_openmp},
    {"reference", Backend::cpu, kl_bwd_reference},
  };
  return table;
}

template <>
std::span<const Variant<LogitTargets>> variants<LogitTargets>() {
  static constexpr Variant<LogitTargets> table[] = {
#if KRAIT_CUDA
    {"image_per_thread", Backend::cuda, logit_targets_image_per_thread, logit_targets_gpu_fits},
#endif
    {"openmp", Backend::cpu, logit_targets_openmp},
    {"reference", Backend::cpu, logit_targets_reference},
  };
  return table;
}

}  // namespace krait
