// The functions behind the table of variants.cpp.
#pragma once

#include "kernels/reduce/reduce.h"

namespace krait {

void add_bias_reference(const AddBias&, const Launch&);
void column_sum_reference(const ColumnSum&, const Launch&);

void add_bias_openmp(const AddBias&, const Launch&);
void column_sum_openmp(const ColumnSum&, const Launch&);
size_t column_sum_openmp_scratch(const ColumnSum&);

#if KRAIT_CUDA
void add_bias_tile(const AddBias&, const Launch&);
void column_sum_two_pass(const ColumnSum&, const Launch&);
size_t column_sum_two_pass_scratch(const ColumnSum&);
#endif

}  // namespace krait
