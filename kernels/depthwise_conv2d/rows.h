// The functions behind the tables of variants.cpp.
#pragma once

#include "kernels/depthwise_conv2d/depthwise_conv2d.h"

namespace krait {

void depthwise_conv2d_fwd_reference(const DepthwiseConv2dFwd&, const Launch&);
void depthwise_conv2d_bwd_reference(const DepthwiseConv2dBwd&, const Launch&);

void depthwise_conv2d_fwd_openmp(const DepthwiseConv2dFwd&, const Launch&);
bool depthwise_conv2d_fwd_openmp_supports(const DepthwiseConv2dFwd&, const Device&);
size_t depthwise_conv2d_fwd_openmp_scratch(const DepthwiseConv2dFwd&);
void depthwise_conv2d_bwd_openmp(const DepthwiseConv2dBwd&, const Launch&);
bool depthwise_conv2d_bwd_openmp_supports(const DepthwiseConv2dBwd&, const Device&);
size_t depthwise_conv2d_bwd_openmp_scratch(const DepthwiseConv2dBwd&);

#if KRAIT_CUDA
void depthwise_conv2d_fwd_row_walk(const DepthwiseConv2dFwd&, const Launch&);
bool depthwise_conv2d_fwd_row_walk_supports(const DepthwiseConv2dFwd&, const Device&);
void depthwise_conv2d_bwd_strips(const DepthwiseConv2dBwd&, const Launch&);
bool depthwise_conv2d_bwd_strips_supports(const DepthwiseConv2dBwd&, const Device&);
size_t depthwise_conv2d_bwd_strips_scratch(const DepthwiseConv2dBwd&);

void depthwise_conv2d_fwd_staged(const DepthwiseConv2dFwd&, const Launch&);
bool depthwise_conv2d_fwd_staged_supports(const DepthwiseConv2dFwd&, const Device&);
void depthwise_conv2d_bwd_staged(const DepthwiseConv2dBwd&, const Launch&);
bool depthwise_conv2d_bwd_staged_supports(const DepthwiseConv2dBwd&, const Device&);
size_t depthwise_conv2d_bwd_staged_scratch(const DepthwiseConv2dBwd&);
#endif

}  // namespace krait
