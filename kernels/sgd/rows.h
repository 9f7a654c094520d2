// The functions behind the table of variants.cpp.
#pragma once

#include "kernels/sgd/sgd.h"

namespace krait {

void sgd_reference(const Sgd&, const Launch&);
void sgd_openmp(const Sgd&, const Launch&);
#if KRAIT_CUDA
void sgd_elements(const Sgd&, const Launch&);
bool sgd_elements_fit(const Sgd&, const Device&);
#endif

}  // namespace krait
