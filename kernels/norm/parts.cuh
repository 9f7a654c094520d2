// What the GPU rows of add_norm share.
#pragma once

#include "kernels/common/device/add_slices.cuh"
#include "kernels/norm/rows.h"

namespace krait {

// Calls f with the types of y and of x.
template <class F>
void with_norm_types(DType t, DType x, F&& f) {
  KRAIT_CHECK((t == DType::f32 || t == DType::bf16) && (x == t || x == DType::f32),
              "no GPU code for y in ", name_of(t), " and x in ", name_of(x));
  if (t == DType::f32)
    f.template operator()<float, float>();
  else if (x == DType::f32)
    f.template operator()<bf16, float>();
  else
    f.template operator()<bf16, bf16>();
}

inline bool sums_rows(const AddNormBwd& p) {
  return p.dy && (p.dw || p.db);
}
// part (slices, 2, D) -> dw, db
inline void add_parts(const AddNormBwd& p, const float* part, int64_t slices, Stream stream) {
  if (p.dw) add_slices(part, 2 * p.D, slices, p.D, static_cast<float*>(p.dw), stream);
  if (p.db) add_slices(part + p.D, 2 * p.D, slices, p.D, static_cast<float*>(p.db), stream);
}

}  // namespace krait
