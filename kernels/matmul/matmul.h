// C (m, n) = op(A) (m, k) op(B) (k, n), row major; either operand may be stored transposed, and
// each has its own distance between rows. C is added to when accumulate.
#pragma once

#include "kernels/common/kernel.h"

namespace krait {

struct Matmul {
  static constexpr const char* name = "matmul";
  DType dtype;    // of A and B
  DType c_dtype;  // of C: dtype, or accum(dtype) for gradients of parameters
  int64_t m, n, k;
  bool trans_a = false, trans_b = false;  // A is stored (k, m), B is stored (n, k)
  bool accumulate = false;
  bool allow_tf32 = false;  // f32 on the GPU may round its operands to TF32
  const void* a;
  const void* b;
  void* c;
  int64_t a_row, b_row, c_row;  // elements from one stored row to the next
};

template <>
std::span<const Variant<Matmul>> variants<Matmul>();

}  // namespace krait
