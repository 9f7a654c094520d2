// GPU row: cuBLASLt. The plan of each kind of product is chosen once and kept in Libraries.
#include "kernels/common/libraries_impl.h"
#include "kernels/matmul/rows.h"

#if KRAIT_CUDA

namespace krait {
namespace {

#define KRAIT_CUBLAS_CHECK(call)                                   \
  do {                                                             \
    cublasStatus_t krait_status = (call);                          \
    KRAIT_CHECK(krait_status == CUBLAS_STATUS_SUCCESS, #call ": ", \
                cublasLtGetStatusString(krait_status));            \
  } while (0)

cudaDataType type_of(DType t) {
  return t == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F;
}

// The largest power of two, up to 256, that divides the address.
uint32_t alignment(const void* p) {
  const auto a = reinterpret_cast<uintptr_t>(p);
  return a % 256 == 0 ? 256u : static_cast<uint32_t>(a & -a);
}

cublasLtMatrixLayout_t layout(DType t, int64_t rows, int64_t columns, int64_t row) {
  // Row major (rows, columns) is column major (columns, rows) to cuBLAS.
  cublasLtMatrixLayout_t m = nullptr;
  KRAIT_CUBLAS_CHECK(cublasLtMatrixLayoutCreate(&m, type_of(t), columns, rows, row));
  return m;
}

Libraries::Impl::MatmulPlan make_plan(const Matmul& p, Libraries::Impl& lib) {
  Libraries::Impl::MatmulPlan plan;
  const cublasComputeType_t compute =
      p.dtype == DType::f32 && p.allow_tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
  KRAIT_CUBLAS_CHECK(cublasLtMatmulDescCreate(&plan.desc, compute, CUDA_R_32F));
  // C^T = op(B)^T op(A)^T: cuBLAS's first operand is our B.
  const cublasOperation_t first = p.trans_b ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t second = p.trans_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  KRAIT_CUBLAS_CHECK(
      cublasLtMatmulDescSetAttribute(plan.desc, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first));
  KRAIT_CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(plan.desc, CUBLASLT_MATMUL_DESC_TRANSB, &second,
                                                    sizeof second));
  plan.b = p.trans_b ? layout(p.dtype, p.n, p.k, p.b_row) : layout(p.dtype, p.k, p.n, p.b_row);
  plan.a = p.trans_a ? layout(p.dtype, p.k, p.m, p.a_row) : layout(p.dtype, p.m, p.k, p.a_row);
  plan.c = layout(p.c_dtype, p.m, p.n, p.c_row);

  cublasLtMatmulPreference_t preference = nullptr;
  KRAIT_CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&preference));
  auto set = [&](cublasLtMatmulPreferenceAttributes_t what, auto value) {
    KRAIT_CUBLAS_CHECK(
        cublasLtMatmulPreferenceSetAttribute(preference, what, &value, sizeof value));
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, size_t{Libraries::Impl::workspace_bytes});
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(p.b));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(p.a));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment(p.c));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment(p.c));
  // No split-K by atomics: results would depend on the order of arrival. The best guess is taken as
  // it is: timing several would choose, and so round, differently from run to run.
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      uint32_t{CUBLASLT_REDUCTION_SCHEME_MASK & ~CUBLASLT_REDUCTION_SCHEME_INPLACE});
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      lib.cublaslt, plan.desc, plan.b, plan.a, plan.c, plan.c, preference, 1, &found, &count);
  cublasLtMatmulPreferenceDestroy(preference);
  KRAIT_CHECK(status == CUBLAS_STATUS_SUCCESS && count > 0 && found.state == CUBLAS_STATUS_SUCCESS,
              "cuBLASLt has no way to multiply (", p.m, ", ", p.k, ") by (", p.k, ", ", p.n,
              ") in ", name_of(p.dtype), ": ", cublasLtGetStatusString(status));
  plan.algo = found.algo;
  lib.at_exit.push_back([plan] {
    cublasLtMatrixLayoutDestroy(plan.a);
    cublasLtMatrixLayoutDestroy(plan.b);
    cublasLtMatrixLayoutDestroy(plan.c);
    cublasLtMatmulDescDestroy(plan.desc);
  });
  return plan;
}

}  // namespace

void matmul_cublaslt(const Matmul& p, const Launch& l) {
  Libraries::Impl& lib = l.libraries->impl();
  if (!lib.cublaslt) {
    KRAIT_CUBLAS_CHECK(cublasLtCreate(&lib.cublaslt));
    KRAIT_CUDA_CHECK(cudaMalloc(&lib.workspace, Libraries::Impl::workspace_bytes));
    lib.at_exit.push_back([&lib] {
      cublasLtDestroy(lib.cublaslt);
      cudaFree(lib.workspace);
    });
  }
  const std::vector<int64_t> key = {
      int64_t(p.dtype), int64_t(p.c_dtype), p.m,     p.n,     p.k,     p.trans_a,
      p.trans_b,        p.allow_tf32,       p.a_row, p.b_row, p.c_row, alignment(p.a),
      alignment(p.b),   alignment(p.c)};
  auto at = lib.matmul_plans.find(key);
  if (at == lib.matmul_plans.end()) at = lib.matmul_plans.emplace(key, make_plan(p, lib)).first;
  const auto& plan = at->second;
  const float alpha = 1, beta = p.accumulate ? 1 : 0;
  KRAIT_CUBLAS_CHECK(cublasLtMatmul(lib.cublaslt, plan.desc, &alpha, p.b, plan.b, p.a, plan.a,
                                    &beta, p.c, plan.c, p.c, plan.c, &plan.algo, lib.workspace,
                                    Libraries::Impl::workspace_bytes, l.stream));
}

}  // namespace krait
#endif
