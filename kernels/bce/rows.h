// The functions behind the tables of variants.cpp.
#pragma once

#include "kernels/bce/bce.h"

namespace krait {

void bce_fwd_reference(const BceFwd&, const Launch&);
void bce_bwd_reference(const BceBwd&, const Launch&);
void bce_fwd_openmp(const BceFwd&, const Launch&);
size_t bce_fwd_image_sums(const BceFwd&);  // scratch: a double for each image
void bce_bwd_openmp(const BceBwd&, const Launch&);
#if KRAIT_CUDA
void bce_fwd_image_per_thread(const BceFwd&, const Launch&);
bool bce_fwd_gpu_fits(const BceFwd&, const Device&);
void bce_bwd_elements(const BceBwd&, const Launch&);
bool bce_bwd_gpu_fits(const BceBwd&, const Device&);
#endif

}  // namespace krait
