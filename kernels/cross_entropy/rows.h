// The functions behind the table of variants.cpp.
#pragma once

#include "kernels/cross_entropy/cross_entropy.h"

namespace krait {

void cross_entropy_fwd_reference(const CrossEntropyFwd&, const Launch&);
void cross_entropy_bwd_reference(const CrossEntropyBwd&, const Launch&);

bool cross_entropy_fwd_openmp_supports(const CrossEntropyFwd&, const Device&);
size_t cross_entropy_fwd_openmp_scratch(const CrossEntropyFwd&);
void cross_entropy_fwd_openmp(const CrossEntropyFwd&, const Launch&);
bool cross_entropy_bwd_openmp_supports(const CrossEntropyBwd&, const Device&);
void cross_entropy_bwd_openmp(const CrossEntropyBwd&, const Launch&);

#if KRAIT_CUDA
size_t cross_entropy_fwd_image_per_warp_scratch(const CrossEntropyFwd&);
void cross_entropy_fwd_image_per_warp(const CrossEntropyFwd&, const Launch&);
void cross_entropy_bwd_image_per_warp(const CrossEntropyBwd&, const Launch&);
#endif

}  // namespace krait
