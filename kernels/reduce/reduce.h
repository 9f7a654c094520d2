// Adding one row to every row of a matrix, and adding up its rows: the bias of a linear layer,
// forward and backward.
//   add bias:    y[r, d] += b[d]
//   column sum:  sum[d]  += sum_r x[r, d]
#pragma once

#include "kernels/common/kernel.h"

namespace krait {

struct AddBias {
  static constexpr const char* name = "add_bias";
  DType dtype;  // of y
  int64_t rows;
  int64_t D;
  int64_t row;    // elements from one row of y to the next, at least D
  const void* b;  // (D), accum(dtype)
  void* y;        // (rows, D)
};

struct ColumnSum {
  static constexpr const char* name = "column_sum";
  DType dtype;  // of x
  int64_t rows;
  int64_t D;
  int64_t row;    // elements from one row of x to the next, at least D
  const void* x;  // (rows, D)
  void* sum;      // (D), accum(dtype); always added to
};

template <>
std::span<const Variant<AddBias>> variants<AddBias>();
template <>
std::span<const Variant<ColumnSum>> variants<ColumnSum>();

}  // namespace krait
