// The tables. To add a variant: write it, declare it in rows.h, add a row here. Nothing else.
#include "kernels/attention/rows.h"

namespace krait {

template <>
std::span<const Variant<AttentionFwd>> variants<AttentionFwd>() {
  static constexpr Variant<AttentionFwd> table[] = {
#if KRAIT_CUDA
    {"tensor_tiles", Backend::cuda, attention_fwd_tensor_tiles,
     attention_fwd_tensor_tiles_supports},
    {"key_tiles", Backend::cuda, attention_fwd_key_tiles, attention_fwd_key_tiles_supports},
#endif
    {"openmp", Backend::cpu, attention_fwd_openmp, attention_fwd_openmp_supports},
    {"reference", Backend::cpu, attention_fwd_reference},
  };
  return table;
}

template <>
std::span<const Variant<AttentionBwd>> variants<AttentionBwd>() {
  static constexpr Variant<AttentionBwd> table[] = {
#if KRAIT_CUDA
    {"tensor_tiles", Backend::cuda, attention_bwd_tensor_tiles, attention_bwd_tensor_tiles_supports,
     attention_bwd_tensor_tiles_scratch},
    {"key_tiles", Backend::cuda, attention_bwd_key_tiles, attention_bwd_key_tiles_supports,
     attention_bwd_key_tiles_scratch},
#endif
    {"openmp", Backend::cpu, attention_bwd_openmp, attention_bwd_openmp_supports},
    {"reference", Backend::cpu, attention_bwd_reference},
  };
  return table;
}

}  // namespace krait
