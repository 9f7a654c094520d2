// The table. To add a variant: write it, declare it in rows.h, add a row here. Nothing else.
#include "kernels/adamw/rows.h"

namespace krait {

template <>
std::span<const Variant<AdamW>> variants<AdamW>() {
  static constexpr Variant<AdamW> table[] = {
#if KRAIT_CUDA
    {"vectors", Backend::cuda, adamw_vectors, adamw_vectors_fit},
    {"elements", Backend::cuda, adamw_elements, adamw_elements_fit},
#endif
    {"openmp", Backend::cpu, adamw_openmp},
    {"reference", Backend::cpu, adamw_reference},
  };
  return table;
}

}  // namespace krait
