// The functions behind the tables of variants.cpp.
#pragma once

#include "kernels/distill/distill.h"

namespace krait {

void kl_fwd_reference(const KlFwd&, const Launch&);
void kl_bwd_reference(const KlBwd&, const Launch&);
void logit_targets_reference(const LogitTargets&, const Launch&);
void kl_fwd_openmp(const KlFwd&, const Launch&);
size_t kl_fwd_image_sums(const KlFwd&);  // scratch: a double for each image
void kl_bwd_openmp(const KlBwd&, const Launch&);
void logit_targets_openmp(const LogitTargets&, const Launch&);
#if KRAIT_CUDA
void kl_fwd_image_per_thread(const KlFwd&, const Launch&);
bool kl_fwd_gpu_fits(const KlFwd&, const Device&);
void kl_bwd_image_per_thread(const KlBwd&, const Launch&);
bool kl_bwd_gpu_fits(const KlBwd&, const Device&);
void logit_targets_image_per_thread(const LogitTargets&, const Launch&);
bool logit_targets_gpu_fits(const LogitTargets&, const Device&);
#endif

}  // namespace krait
