// The functions behind the table of variants.cpp.
#pragma once

#include "kernels/transpose/transpose.h"

namespace krait {

void transpose_reference(const Transpose&, const Launch&);
void transpose_openmp(const Transpose&, const Launch&);

#if KRAIT_CUDA
void transpose_words(const Transpose&, const Launch&);
#endif

}  // namespace krait
