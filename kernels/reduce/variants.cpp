// The tables. To add a variant: write it, declare it in rows.h, add a row here. Nothing else.
#include "kernels/reduce/rows.h"

namespace krait {

template <>
std::span<const Variant<AddBias>> variants<AddBias>() {
  static constexpr Variant<AddBias> table[] = {
#if KRAIT_CUDA
    {"tile", Backend::cuda, add_bias_tile},
#endif
    {"openmp", Backend::cpu, add_bias_openmp},
    {"reference", Backend::cpu, add_bias_reference},
  };
  return table;
}

template <>
std::span<const Variant<ColumnSum>> variants<ColumnSum>() {
  static constexpr Variant<ColumnSum> table[] = {
#if KRAIT_CUDA
    {"two_pass", Backend::cuda, column_sum_two_pass, nullptr, column_sum_two_pass_scratch},
#endif
    {"openmp", Backend::cpu, column_sum_openmp, nullptr, column_sum_openmp_scratch},
    {"reference", Backend::cpu, column_sum_reference},
  };
  return table;
}

}  // namespace krait
