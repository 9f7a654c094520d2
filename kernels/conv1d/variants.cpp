// The tables of the depthwise convolution.
#include "kernels/conv1d/rows.h"

namespace krait {

template <>
std::span<const Variant<Conv1dFwd>> variants<Conv1dFwd>() {
  static constexpr Variant<Conv1dFwd> table[] = {
#if KRAIT_CUDA
    {"wide_window", Backend::cuda, conv1d_fwd_wide_window, conv1d_fwd_wide_window_supports},
    {"window", Backend::cuda, conv1d_fwd_window, conv1d_fwd_window_supports},
#endif
    {"openmp", Backend::cpu, conv1d_fwd_openmp, conv1d_fwd_openmp_supports,
     conv1d_fwd_openmp_scratch},
    {"reference", Backend::cpu, conv1d_fwd_reference},
  };
  return table;
}

template <>
std::span<const Variant<Conv1dBwd>> variants<Conv1dBwd>() {
  static constexpr Variant<Conv1dBwd> table[] = {
#if KRAIT_CUDA
    {"walk", Backend::cuda, conv1d_bwd_walk, conv1d_bwd_walk_supports, conv1d_bwd_walk_scratch},
    {"window", Backend::cuda, conv1d_bwd_window, conv1d_bwd_window_supports,
     conv1d_bwd_window_scratch},
#endif
    {"openmp", Backend::cpu, conv1d_bwd_openmp, conv1d_bwd_openmp_supports,
     conv1d_bwd_openmp_scratch},
    {"reference", Backend::cpu, conv1d_bwd_reference},
  };
  return table;
}

}  // namespace krait
