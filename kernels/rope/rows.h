// The functions behind the table of variants.cpp.
#pragma once

#include "kernels/rope/rope.h"

namespace krait {

void rope_reference(const RopeFwd&, const Launch&);
void rope_openmp(const RopeFwd&, const Launch&);
#if KRAIT_CUDA
bool rope_pairs_supports(const RopeFwd&, const Device&);
void rope_pairs(const RopeFwd&, const Launch&);
void rope_elements(const RopeFwd&, const Launch&);
#endif

}  // namespace krait
