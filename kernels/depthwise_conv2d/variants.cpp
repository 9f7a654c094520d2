// The tables of the depthwise convolution over a grid.
#include "kernels/depthwise_conv2d/rows.h"

namespace krait {

template <>
std::span<const Variant<DepthwiseConv2dFwd>> variants<DepthwiseConv2dFwd>() {
  static constexpr Variant<DepthwiseConv2dFwd> table[] = {
#if KRAIT_CUDA
    {"staged", Backend::cuda, depthwise_conv2d_fwd_staged, depthwise_conv2d_fwd_staged_supports},
    {"row_walk", Backend::cuda, depthwise_conv2d_fwd_row_walk,
     depthwise_conv2d_fwd_row_walk_supports},
#endif
    {"openmp", Backend::cpu, depthwise_conv2d_fwd_openmp, depthwise_conv2d_fwd_openmp_supports,
     depthwise_conv2d_fwd_openmp_scratch},
    {"reference", Backend::cpu, depthwise_conv2d_fwd_reference},
  };
  return table;
}

template <>
std::span<const Variant<DepthwiseConv2dBwd>> variants<DepthwiseConv2dBwd>() {
  static constexpr Variant<DepthwiseConv2dBwd> table[] = {
#if KRAIT_CUDA
    {"staged", Backend::cuda, depthwise_conv2d_bwd_staged, depthwise_conv2d_bwd_staged_supports,
     depthwise_conv2d_bwd_staged_scratch},
    {"strips", Backend::cuda, depthwise_conv2d_bwd_strips, depthwise_conv2d_bwd_strips_supports,
     depthwise_conv2d_bwd_strips_scratch},
#endif
    {"openmp", Backend::cpu, depthwise_conv2d_bwd_openmp, depthwise_conv2d_bwd_openmp_supports,
     depthwise_conv2d_bwd_openmp_scratch},
    {"reference", Backend::cpu, depthwise_conv2d_bwd_reference},
  };
  return table;
}

}  // namespace krait
