// C (m, n) = op(A) (m, k) op(B) (k, n), row major; either operand may be stored transposed, and
// each has its own distance between rows. C is added to when accumulate. `count` products of the
// same sizes may go in one launch: both sides of a layer have theirs.
#pragma once

#include <cstddef>

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
  int64_t a_row, b_row, c_row;                 // elements from one stored row to the next
  int64_t count = 1;                           // products
  int64_t a_next = 0, b_next = 0, c_next = 0;  // elements from a product's operand to the next's
};

// Product i of them, alone.
inline Matmul product(Matmul p, int64_t i) {
  const auto size = static_cast<int64_t>(size_of(p.dtype));
  p.a = static_cast<const std::byte*>(p.a) + i * p.a_next * size;
  p.b = static_cast<const std::byte*>(p.b) + i * p.b_next * size;
  p.c = static_cast<std::byte*>(p.c) + i * p.c_next * static_cast<int64_t>(size_of(p.c_dtype));
  p.count = 1;
  p.a_next = p.b_next = p.c_next = 0;
  return p;
}

template <>
std::span<const Variant<Matmul>> variants<Matmul>();

}  // namespace krait
