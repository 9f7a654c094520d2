// The functions behind the table of variants.cpp.
#pragma once

#include "kernels/matmul/matmul.h"

namespace krait {

void matmul_reference(const Matmul&, const Launch&);
bool matmul_register_tiles_supports(const Matmul&, const Device&);
size_t matmul_register_tiles_scratch(const Matmul&);
void matmul_register_tiles(const Matmul&, const Launch&);
#if KRAIT_BLAS
bool matmul_blas_supports(const Matmul&, const Device&);
size_t matmul_blas_scratch(const Matmul&);
void matmul_blas(const Matmul&, const Launch&);
#endif
#if KRAIT_CUDA
bool matmul_narrow_result_supports(const Matmul&, const Device&);
void matmul_narrow_result(const Matmul&, const Launch&);
bool matmul_narrow_sum_supports(const Matmul&, const Device&);
void matmul_narrow_sum(const Matmul&, const Launch&);
bool matmul_narrow_gradient_supports(const Matmul&, const Device&);
size_t matmul_narrow_gradient_scratch(const Matmul&);
void matmul_narrow_gradient(const Matmul&, const Launch&);
void matmul_cublaslt(const Matmul&, const Launch&);
bool matmul_tiles_supports(const Matmul&, const Device&);
void matmul_tiles(const Matmul&, const Launch&);
#endif

}  // namespace krait
