// The tables. To add a variant: write it, declare it in rows.h, add a row here. Nothing else.
#include "kernels/bce/rows.h"

namespace krait {

template <>
std::span<const Variant<BceFwd>> variants<BceFwd>() {
  static constexpr Variant<BceFwd> table[] = {
#if KRAIT_CUDA
    {"image_per_thread", Backend::cuda, bce_fwd_image_per_thread, bce_fwd_gpu_fits,
     bce_fwd_image_sums},
#endif
    {"openmp", Backend::cpu, bce_fwd_openmp, nullptr, bce_fwd_image_sums},
    {"reference", Backend::cpu, bce_fwd_reference},
  };
  return table;
}

template <>
std::span<const Variant<BceBwd>> variants<BceBwd>() {
  static constexpr Variant<BceBwd> table[] = {
#if KRAIT_CUDA
    {"elements", Backend::cuda, bce_bwd_elements, bce_bwd_gpu_fits},
#endif
    {"openmp", Backend::cpu, bce_bwd_openmp},
    {"reference", Backend::cpu, bce_bwd_reference},
  };
  return table;
}

}  // namespace krait
