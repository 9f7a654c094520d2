// The definition of fill, its table and its cases.
#include "kernels/fill/fill.h"

#include <algorithm>

#include "kernels/common/case.h"

namespace krait {

void fill_reference(const Fill& p, const Launch&) {
  auto rows = [&]<class T>(T value) {
    T* const y = static_cast<T*>(p.y);
    if (p.width == p.row)
      std::fill_n(y, p.rows * p.width, value);
    else
      for (int64_t r = 0; r < p.rows; ++r) std::fill_n(y + r * p.row, p.width, value);
  };
  if (p.dtype == DType::i32) return rows(static_cast<int32_t>(p.value));
  if (p.dtype == DType::u8) return rows(static_cast<uint8_t>(p.value));
  dispatch_float(p.dtype, [&]<class T>() { rows(T(static_cast<accum_t<T>>(p.value))); });
}

template <>
std::span<const Variant<Fill>> variants<Fill>() {
  static constexpr Variant<Fill> table[] = {
#if KRAIT_CUDA
    {"grid_stride", Backend::cuda, fill_grid_stride},
#endif
    {"reference", Backend::cpu, fill_reference},
  };
  return table;
}

void add_fill_cases(CaseList& list) {
  for (DType t : {DType::f32, DType::bf16}) {
    list.push_back(make_case<Fill>(
        {.size = "rows=37 width=19 of 23", .dtype = t, .cost = {37.0 * 19 * size_of(t)}},
        [](CaseMemory& m) {
          return Fill{m.dtype(), 37, 19, 23, 0.75, m.inout("y", 37 * 23, -1, 1)};
        }));
    list.push_back(make_case<Fill>(
        {.size = "rows=37 width=19", .dtype = t, .cost = {37.0 * 19 * size_of(t)}},
        [](CaseMemory& m) { return Fill{m.dtype(), 37, 19, 19, 0.75, m.out("y", 37 * 19)}; }));
  }
}

}  // namespace krait
