// The functions behind the table of variants.cpp.
#pragma once

#include "kernels/elementwise/elementwise.h"

namespace krait {

void unary_fwd_reference(const UnaryFwd&, const Launch&);
void unary_bwd_reference(const UnaryBwd&, const Launch&);
void add_reference(const Add&, const Launch&);
void scale_columns_fwd_reference(const ScaleColumnsFwd&, const Launch&);
void scale_columns_bwd_reference(const ScaleColumnsBwd&, const Launch&);

void unary_fwd_openmp(const UnaryFwd&, const Launch&);
void unary_bwd_openmp(const UnaryBwd&, const Launch&);
void add_openmp(const Add&, const Launch&);

#if KRAIT_CUDA
void unary_fwd_grid_stride(const UnaryFwd&, const Launch&);
void unary_bwd_grid_stride(const UnaryBwd&, const Launch&);
void add_grid_stride(const Add&, const Launch&);
void scale_columns_fwd_grid_stride(const ScaleColumnsFwd&, const Launch&);
void scale_columns_bwd_two_pass(const ScaleColumnsBwd&, const Launch&);
size_t scale_columns_bwd_scratch(const ScaleColumnsBwd&);
#endif

}  // namespace krait
