// The table. To add a variant: write it, declare it in rows.h, add a row here. Nothing else.
#include "kernels/rope/rows.h"

namespace krait {

template <>
std::span<const Variant<RopeFwd>> variants<RopeFwd>() {
  static constexpr Variant<RopeFwd> table[] = {
#if KRAIT_CUDA
    {"pairs", Backend::cuda, rope_pairs, rope_pairs_supports},
    {"elements", Backend::cuda, rope_elements},
#endif
    {"openmp", Backend::cpu, rope_openmp},
    {"reference", Backend::cpu, rope_reference},
  };
  return table;
}

}  // namespace krait
