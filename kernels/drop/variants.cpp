// The table. To add a variant: write it, declare it in rows.h, add a row here. Nothing else.
#include "kernels/drop/rows.h"

namespace krait {

template <>
std::span<const Variant<Drop>> variants<Drop>() {
  static constexpr Variant<Drop> table[] = {
#if KRAIT_CUDA
    {"chunks", Backend::cuda, drop_chunks},
#endif
    {"openmp", Backend::cpu, drop_openmp},
    {"reference", Backend::cpu, drop_reference},
  };
  return table;
}

}  // namespace krait
