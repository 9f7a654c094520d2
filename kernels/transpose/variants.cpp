// The table of the transposition.
#include "kernels/transpose/rows.h"

namespace krait {

template <>
std::span<const Variant<Transpose>> variants<Transpose>() {
  static constexpr Variant<Transpose> table[] = {
#if KRAIT_CUDA
    {"words", Backend::cuda, transpose_words},
#endif
    {"openmp", Backend::cpu, transpose_openmp},
    {"reference", Backend::cpu, transpose_reference},
  };
  return table;
}

}  // namespace krait
