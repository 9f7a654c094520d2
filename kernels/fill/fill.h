// y = value over rows of `width` elements, `row` elements apart. No arithmetic, every type.
#pragma once

#include "kernels/common/kernel.h"

namespace krait {

struct Fill {
  static constexpr const char* name = "fill";
  DType dtype;
  int64_t rows, width, row;
  double value;
  void* y;  // (rows, width)
};

template <>
std::span<const Variant<Fill>> variants<Fill>();

void fill_reference(const Fill&, const Launch&);
#if KRAIT_CUDA
void fill_grid_stride(const Fill&, const Launch&);
#endif

}  // namespace krait
