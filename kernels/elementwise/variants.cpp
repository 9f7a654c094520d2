// The tables. To add a variant: write it, declare it in rows.h, add a row here. Nothing else.
#include "kernels/elementwise/rows.h"

namespace krait {

template <>
std::span<const Variant<UnaryFwd>> variants<UnaryFwd>() {
  static constexpr Variant<UnaryFwd> table[] = {
#if KRAIT_CUDA
    {"grid_stride", Backend::cuda, unary_fwd_grid_stride},
#endif
    {"openmp", Backend::cpu, unary_fwd_openmp},
    {"reference", Backend::cpu, unary_fwd_reference},
  };
  return table;
}

template <>
std::span<const Variant<UnaryBwd>> variants<UnaryBwd>() {
  static constexpr Variant<UnaryBwd> table[] = {
#if KRAIT_CUDA
    {"grid_stride", Backend::cuda, unary_bwd_grid_stride},
#endif
    {"openmp", Backend::cpu, unary_bwd_openmp},
    {"reference", Backend::cpu, unary_bwd_reference},
  };
  return table;
}

template <>
std::span<const Variant<Add>> variants<Add>() {
  static constexpr Variant<Add> table[] = {
#if KRAIT_CUDA
    {"grid_stride", Backend::cuda, add_grid_stride},
#endif
    {"openmp", Backend::cpu, add_openmp},
    {"reference", Backend::cpu, add_reference},
  };
  return table;
}

template <>
std::span<const Variant<ScaleColumnsFwd>> variants<ScaleColumnsFwd>() {
  static constexpr Variant<ScaleColumnsFwd> table[] = {
#if KRAIT_CUDA
    {"grid_stride", Backend::cuda, scale_columns_fwd_grid_stride},
#endif
    {"reference", Backend::cpu, scale_columns_fwd_reference},
  };
  return table;
}

template <>
std::span<const Variant<ScaleColumnsBwd>> variants<ScaleColumnsBwd>() {
  static constexpr Variant<ScaleColumnsBwd> table[] = {
#if KRAIT_CUDA
    {"two_pass", Backend::cuda, scale_columns_bwd_two_pass, nullptr, scale_columns_bwd_scratch},
#endif
    {"reference", Backend::cpu, scale_columns_bwd_reference},
  };
  return table;
}

}  // namespace krait
