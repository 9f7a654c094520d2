// The functions behind the table of variants.cpp.
#pragma once

#include "kernels/norm/norm.h"

namespace krait {

// Row of the tables for row r; -1: not rotated.
KRAIT_HD inline int64_t table_row(const Rotation& rotation, int64_t r) {
  if (!rotation.cos) return -1;
  const int64_t t = r % rotation.L - (rotation.L - rotation.P);
  return t < 0 ? -1 : t;
}

void add_norm_fwd_reference(const AddNormFwd&, const Launch&);
void add_norm_bwd_reference(const AddNormBwd&, const Launch&);

bool add_norm_fwd_openmp_supports(const AddNormFwd&, const Device&);
void add_norm_fwd_openmp(const AddNormFwd&, const Launch&);
bool add_norm_bwd_openmp_supports(const AddNormBwd&, const Device&);
void add_norm_bwd_openmp(const AddNormBwd&, const Launch&);
size_t add_norm_bwd_openmp_scratch(const AddNormBwd&);

#if KRAIT_CUDA
bool add_norm_fwd_registers_supports(const AddNormFwd&, const Device&);
void add_norm_fwd_registers(const AddNormFwd&, const Launch&);
void add_norm_fwd_row_per_warp(const AddNormFwd&, const Launch&);
bool add_norm_bwd_registers_supports(const AddNormBwd&, const Device&);
void add_norm_bwd_registers(const AddNormBwd&, const Launch&);
size_t add_norm_bwd_registers_scratch(const AddNormBwd&);
void add_norm_bwd_row_per_warp(const AddNormBwd&, const Launch&);
size_t add_norm_bwd_row_per_warp_scratch(const AddNormBwd&);
#endif

}  // namespace krait
