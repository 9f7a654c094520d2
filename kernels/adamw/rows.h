// The functions behind the table of variants.cpp.
#pragma once

#include "kernels/adamw/adamw.h"

namespace krait {

void adamw_reference(const AdamW&, const Launch&);
void adamw_openmp(const AdamW&, const Launch&);
#if KRAIT_CUDA
void adamw_vectors(const AdamW&, const Launch&);
bool adamw_vectors_fit(const AdamW&, const Device&);
void adamw_elements(const AdamW&, const Launch&);
bool adamw_elements_fit(const AdamW&, const Device&);
#endif

}  // namespace krait
