// What Libraries holds. Included only by the rows that call a library, and by libraries.cpp.
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "kernels/common/cuda.h"
#include "kernels/common/libraries.h"

#if KRAIT_CUDA
#include <cublasLt.h>
#endif

namespace krait {

struct Libraries::Impl {
#if KRAIT_CUDA
  // Everything cublasLtMatmul needs for one kind of product, chosen once.
  struct MatmulPlan {
    cublasLtMatmulDesc_t desc = nullptr;
    cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;
    cublasLtMatmulAlgo_t algo;
  };
  static constexpr size_t workspace_bytes = size_t{32} << 20;
  cublasLtHandle_t cublaslt = nullptr;
  void* workspace = nullptr;
  std::map<std::vector<int64_t>, MatmulPlan> matmul_plans;
#endif
  // Set by the row that created something, run when the Libraries go.
  std::vector<std::function<void()>> at_exit;
  // cuDNN's state, owned by kernels/patch_embed/cudnn.cpp: a handle and its plans.
  std::shared_ptr<void> cudnn;
  std::shared_ptr<void> conv2d_cudnn;  // the same of kernels/conv2d/cudnn.cpp

  ~Impl() {
    for (auto& f : at_exit) f();
  }
};

}  // namespace krait
