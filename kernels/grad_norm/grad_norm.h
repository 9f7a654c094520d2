// The L2 norm of all gradients together: |g| = sqrt(sum_i g_i^2), and whether it is finite.
#pragma once

#include "kernels/common/kernel.h"
#include "kernels/common/step_state.h"

namespace krait {

struct GradNorm {
  static constexpr const char* name = "grad_norm";
  DType dtype;            // of the gradient: f32 or f64
  int64_t n;              // elements
  const void* grad;       // (n)
  bool recovers = false;  // halted becomes 0 where the norm is finite
  StepResult* result;  // (1) grad_norm is written; halted becomes 1 if it is not finite, else stays
  void* norm;          // (1) of type dtype, or null: the norm once more, in the gradient's type
};

template <>
std::span<const Variant<GradNorm>> variants<GradNorm>();

void grad_norm_reference(const GradNorm&, const Launch&);
void grad_norm_openmp(const GradNorm&, const Launch&);
size_t grad_norm_openmp_scratch(const GradNorm&);
#if KRAIT_CUDA
void grad_norm_two_pass(const GradNorm&, const Launch&);
bool grad_norm_two_pass_fits(const GradNorm&, const Device&);
size_t grad_norm_two_pass_scratch(const GradNorm&);
#endif

}  // namespace krait
