// The tables. To add a variant: write it, declare it in rows.h, add a row here. Nothing else.
#include "kernels/norm/rows.h"

namespace krait {

template <>
std::span<const Variant<AddNormFwd>> variants<AddNormFwd>() {
  static constexpr Variant<AddNormFwd> table[] = {
#if KRAIT_CUDA
    {"row_in_registers", Backend::cuda, add_norm_fwd_registers, add_norm_fwd_registers_supports},
    {"row_per_warp", Backend::cuda, add_norm_fwd_row_per_warp},
#endif
    {"openmp", Backend::cpu, add_norm_fwd_openmp, add_norm_fwd_openmp_supports},
    {"reference", Backend::cpu, add_norm_fwd_reference},
  };
  return table;
}

template <>
std::span<const Variant<AddNormBwd>> variants<AddNormBwd>() {
  static constexpr Variant<AddNormBwd> table[] = {
#if KRAIT_CUDA
    {"row_in_registers", Backend::cuda, add_norm_bwd_registers, add_norm_bwd_registers_supports,
     add_norm_bwd_registers_scratch},
    {"row_per_warp", Backend::cuda, add_norm_bwd_row_per_warp, nullptr,
     add_norm_bwd_row_per_warp_scratch},
#endif
    {"openmp", Backend::cpu, add_norm_bwd_openmp, add_norm_bwd_openmp_supports,
     add_norm_bwd_openmp_scratch},
    {"reference", Backend::cpu, add_norm_bwd_reference},
  };
  return table;
}

}  // namespace krait
