// The table. To add a variant: write it, declare it in rows.h, add a row here. Nothing else.
#include "kernels/matmul/rows.h"

namespace krait {
namespace {

// For rows that know one product only: one after the other.
template <void (*run)(const Matmul&, const Launch&)>
void each(const Matmul& p, const Launch& l) {
  for (int64_t i = 0; i < p.count; ++i) run(product(p, i), l);
}

}  // namespace

template <>
std::span<const Variant<Matmul>> variants<Matmul>() {
#if KRAIT_CUDA
  // cuBLASLt needs 16-byte rows for its bf16 tensor-core kernels and refuses odd bf16 rows
  // outright.
  static constexpr auto even = [](const Matmul& p, const Device&) {
    return p.k > 0 &&
           (p.dtype == DType::f32 || (p.a_row % 2 == 0 && p.b_row % 2 == 0 && p.c_row % 2 == 0));
  };
#endif
  static constexpr Variant<Matmul> table[] = {
#if KRAIT_CUDA
    {"narrow_result", Backend::cuda, matmul_narrow_result, matmul_narrow_result_supports},
    {"narrow_sum", Backend::cuda, matmul_narrow_sum, matmul_narrow_sum_supports},
    {"narrow_gradient", Backend::cuda, matmul_narrow_gradient, matmul_narrow_gradient_supports,
     matmul_narrow_gradient_scratch},
    {"cublaslt", Backend::cuda, each<matmul_cublaslt>, +even},
    {"tiles", Backend::cuda, each<matmul_tiles>, matmul_tiles_supports},
#endif
    {"register_tiles", Backend::cpu, each<matmul_register_tiles>, matmul_register_tiles_supports,
     matmul_register_tiles_scratch},
#if KRAIT_BLAS
    {"blas", Backend::cpu, each<matmul_blas>, matmul_blas_supports, matmul_blas_scratch},
#endif
    {"reference", Backend::cpu, each<matmul_reference>},
  };
  return table;
}

}  // namespace krait
