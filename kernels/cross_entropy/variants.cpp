// The tables. To add a variant: write it, declare it in rows.h, add a row here. Nothing else.
#include "kernels/cross_entropy/rows.h"

namespace krait {

template <>
std::span<const Variant<CrossEntropyFwd>> variants<CrossEntropyFwd>() {
  static constexpr Variant<CrossEntropyFwd> table[] = {
#if KRAIT_CUDA
    {"image_per_warp", Backend::cuda, cross_entropy_fwd_image_per_warp, nullptr,
     cross_entropy_fwd_image_per_warp_scratch},
#endif
    {"openmp", Backend::cpu, cross_entropy_fwd_openmp, cross_entropy_fwd_openmp_supports,
     cross_entropy_fwd_openmp_scratch},
    {"reference", Backend::cpu, cross_entropy_fwd_reference},
  };
  return table;
}

template <>
std::span<const Variant<CrossEntropyBwd>> variants<CrossEntropyBwd>() {
  static constexpr Variant<CrossEntropyBwd> table[] = {
#if KRAIT_CUDA
    {"image_per_warp", Backend::cuda, cross_entropy_bwd_image_per_warp},
#endif
    {"openmp", Backend::cpu, cross_entropy_bwd_openmp, cross_entropy_bwd_openmp_supports},
    {"reference", Backend::cpu, cross_entropy_bwd_reference},
  };
  return table;
}

}  // namespace krait
