// The functions behind the table of variants.cpp.
#pragma once

#include "kernels/drop/drop.h"

namespace krait {

void drop_reference(const Drop&, const Launch&);
void drop_openmp(const Drop&, const Launch&);
#if KRAIT_CUDA
void drop_chunks(const Drop&, const Launch&);
#endif

}  // namespace krait
