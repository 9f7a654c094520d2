// CPU row: CBLAS (OpenBLAS or any other). bf16 operands are widened to f32 first.
#include "kernels/matmul/rows.h"

#if KRAIT_BLAS
#include <cblas.h>

namespace krait {
namespace {

struct Stored {
  int64_t rows, columns;
};
Stored stored_a(const Matmul& p) {
  return p.trans_a ? Stored{p.k, p.m} : Stored{p.m, p.k};
}
Stored stored_b(const Matmul& p) {
  return p.trans_b ? Stored{p.n, p.k} : Stored{p.k, p.n};
}

void widen(const void* from, int64_t row, Stored s, float* to) {
#pragma omp parallel for schedule(static)
  for (int64_t r = 0; r < s.rows; ++r)
    for (int64_t c = 0; c < s.columns; ++c)
      to[r * s.columns + c] = float(static_cast<const bf16*>(from)[r * row + c]);
}

void sgemm(const Matmul& p, const float* a, int64_t a_row, const float* b, int64_t b_row, float* c,
           int64_t c_row) {
  cblas_sgemm(CblasRowMajor, p.trans_a ? CblasTrans : CblasNoTrans,
              p.trans_b ? CblasTrans : CblasNoTrans, p.m, p.n, p.k, 1.0f, a, a_row, b, b_row,
              p.accumulate ? 1.0f : 0.0f, c, c_row);
}

}  // namespace

bool matmul_blas_supports(const Matmul& p, const Device&) {
  // CBLAS takes int sizes; an empty product is left to the reference.
  const bool fits = p.m < INT32_MAX && p.n < INT32_MAX && p.k < INT32_MAX && p.k > 0;
  return fits && (p.c_dtype == p.dtype || (p.dtype == DType::bf16 && p.c_dtype == DType::f32));
}
size_t matmul_blas_scratch(const Matmul& p) {
  if (p.dtype != DType::bf16) return 0;
  return (p.m * p.k + p.k * p.n + (p.c_dtype == DType::bf16 ? p.m * p.n : 0)) * sizeof(float);
}
void matmul_blas(const Matmul& p, const Launch& l) {
  if (p.dtype == DType::f32)
    return sgemm(p, static_cast<const float*>(p.a), p.a_row, static_cast<const float*>(p.b),
                 p.b_row, static_cast<float*>(p.c), p.c_row);
  if (p.dtype == DType::f64) {
    cblas_dgemm(CblasRowMajor, p.trans_a ? CblasTrans : CblasNoTrans,
                p.trans_b ? CblasTrans : CblasNoTrans, p.m, p.n, p.k, 1.0,
                static_cast<const double*>(p.a), p.a_row, static_cast<const double*>(p.b), p.b_row,
                p.accumulate ? 1.0 : 0.0, static_cast<double*>(p.c), p.c_row);
    return;
  }
  const Stored sa = stored_a(p), sb = stored_b(p);
  float* a = static_cast<float*>(l.scratch);
  float* b = a + p.m * p.k;
  widen(p.a, p.a_row, sa, a);
  widen(p.b, p.b_row, sb, b);
  if (p.c_dtype == DType::f32)
    return sgemm(p, a, sa.columns, b, sb.columns, static_cast<float*>(p.c), p.c_row);
  float* c = b + p.k * p.n;
  if (p.accumulate) widen(p.c, p.c_row, {p.m, p.n}, c);
  sgemm(p, a, sa.columns, b, sb.columns, c, p.n);
#pragma omp parallel for schedule(static)
  for (int64_t r = 0; r < p.m; ++r)
    for (int64_t j = 0; j < p.n; ++j)
      static_cast<bf16*>(p.c)[r * p.c_row + j] = bf16(c[r * p.n + j]);
}

}  // namespace krait
#endif
