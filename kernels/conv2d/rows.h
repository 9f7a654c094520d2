// The functions behind the tables of variants.cpp.
#pragma once

#include "kernels/conv2d/conv2d.h"

namespace krait {

void conv2d_fwd_reference(const Conv2dFwd&, const Launch&);
void conv2d_bwd_reference(const Conv2dBwd&, const Launch&);

bool conv2d_fwd_gather_fits(const Conv2dFwd&, const Device&);
bool conv2d_bwd_gather_fits(const Conv2dBwd&, const Device&);

void conv2d_fwd_gather_blas(const Conv2dFwd&, const Launch&);
void conv2d_bwd_gather_blas(const Conv2dBwd&, const Launch&);
size_t conv2d_fwd_gather_blas_scratch(const Conv2dFwd&);
size_t conv2d_bwd_gather_blas_scratch(const Conv2dBwd&);

#if KRAIT_CUDA
void conv2d_fwd_gather_matmul(const Conv2dFwd&, const Launch&);
void conv2d_bwd_gather_matmul(const Conv2dBwd&, const Launch&);
bool conv2d_fwd_gather_matmul_supports(const Conv2dFwd&, const Device&);
bool conv2d_bwd_gather_matmul_supports(const Conv2dBwd&, const Device&);
size_t conv2d_fwd_gather_matmul_scratch(const Conv2dFwd&);
size_t conv2d_bwd_gather_matmul_scratch(const Conv2dBwd&);

// wp (D, n) from w (D, C, k, k), as by_matmul.h has it.
void conv2d_spread_weights(DType dtype, const ConvShape& shape, const void* w, void* wp,
                           Stream stream);
#endif

#if KRAIT_CUDNN
void conv2d_fwd_cudnn(const Conv2dFwd&, const Launch&);
void conv2d_bwd_cudnn(const Conv2dBwd&, const Launch&);
bool conv2d_fwd_cudnn_supports(const Conv2dFwd&, const Device&);
bool conv2d_bwd_cudnn_supports(const Conv2dBwd&, const Device&);
size_t conv2d_fwd_cudnn_scratch(const Conv2dFwd&);
size_t conv2d_bwd_cudnn_scratch(const Conv2dBwd&);
#endif

}  // namespace krait
