// Swaps the two middle dimensions: y[b, j, i, k] = x[b, i, j, k]. Its own gradient, with M and N
// swapped. Pictures (B, C, H W, 1) become channels last; a grid of tokens (B, H, W, D) is laid out
// column by column.
#pragma once

#include "kernels/common/kernel.h"

namespace krait {

struct Transpose {
  static constexpr const char* name = "transpose";
  DType dtype;
  int64_t B, M, N, K;
  bool accumulate;  // y += rather than y =
  const void* x;    // (B, M, N, K)
  void* y;          // (B, N, M, K)
};

template <>
std::span<const Variant<Transpose>> variants<Transpose>();

}  // namespace krait
