// The table. To add a variant: write it, declare it in rows.h, add a row here. Nothing else.
#include "kernels/sgd/rows.h"

namespace krait {

template <>
std::span<const Variant<Sgd>> variants<Sgd>() {
  static constexpr Variant<Sgd> table[] = {
#if KRAIT_CUDA
    {"elements", Backend::cuda, sgd_elements, sgd_elements_fit},
#endif
    {"openmp", Backend::cpu, sgd_openmp},
    {"reference", Backend::cpu, sgd_reference},
  };
  return table;
}

}  // namespace krait
