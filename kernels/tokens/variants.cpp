// The tables of the kernels on tokens.
#include "kernels/tokens/rows.h"

namespace krait {

template <>
std::span<const Variant<PlaceTokensFwd>> variants<PlaceTokensFwd>() {
  static constexpr Variant<PlaceTokensFwd> table[] = {
#if KRAIT_CUDA
    {"quads", Backend::cuda, place_tokens_fwd_quads, place_tokens_fwd_quads_supports},
    {"grid_stride", Backend::cuda, place_tokens_fwd_grid_stride},
#endif
    {"openmp", Backend::cpu, place_tokens_fwd_openmp},
    {"reference", Backend::cpu, place_tokens_fwd_reference},
  };
  return table;
}

template <>
std::span<const Variant<PlaceTokensBwd>> variants<PlaceTokensBwd>() {
  static constexpr Variant<PlaceTokensBwd> table[] = {
#if KRAIT_CUDA
    {"two_pass", Backend::cuda, place_tokens_bwd_two_pass, nullptr, place_tokens_bwd_scratch},
#endif
    {"openmp", Backend::cpu, place_tokens_bwd_openmp},
    {"reference", Backend::cpu, place_tokens_bwd_reference},
  };
  return table;
}

template <>
std::span<const Variant<ReverseTokens>> variants<ReverseTokens>() {
  static constexpr Variant<ReverseTokens> table[] = {
#if KRAIT_CUDA
    {"grid_stride", Backend::cuda, reverse_tokens_grid_stride},
#endif
    {"openmp", Backend::cpu, reverse_tokens_openmp},
    {"reference", Backend::cpu, reverse_tokens_reference},
  };
  return table;
}

template <>
std::span<const Variant<MeanTokensFwd>> variants<MeanTokensFwd>() {
  static constexpr Variant<MeanTokensFwd> table[] = {
#if KRAIT_CUDA
    {"quads", Backend::cuda, mean_tokens_fwd_quads, mean_tokens_fwd_quads_supports},
    {"channel_per_thread", Backend::cuda, mean_tokens_fwd_channel_per_thread},
#endif
    {"openmp", Backend::cpu, mean_tokens_fwd_openmp},
    {"reference", Backend::cpu, mean_tokens_fwd_reference},
  };
  return table;
}

template <>
std::span<const Variant<MeanTokensBwd>> variants<MeanTokensBwd>() {
  static constexpr Variant<MeanTokensBwd> table[] = {
#if KRAIT_CUDA
    {"quads", Backend::cuda, mean_tokens_bwd_quads, mean_tokens_bwd_quads_supports},
    {"grid_stride", Backend::cuda, mean_tokens_bwd_grid_stride},
#endif
    {"openmp", Backend::cpu, mean_tokens_bwd_openmp},
    {"reference", Backend::cpu, mean_tokens_bwd_reference},
  };
  return table;
}

template <>
std::span<const Variant<MaxTokensFwd>> variants<MaxTokensFwd>() {
  static constexpr Variant<MaxTokensFwd> table[] = {
#if KRAIT_CUDA
    {"channel_per_thread", Backend::cuda, max_tokens_fwd_channel_per_thread},
#endif
    {"openmp", Backend::cpu, max_tokens_fwd_openmp},
    {"reference", Backend::cpu, max_tokens_fwd_reference},
  };
  return table;
}

template <>
std::span<const Variant<MaxTokensBwd>> variants<MaxTokensBwd>() {
  static constexpr Variant<MaxTokensBwd> table[] = {
#if KRAIT_CUDA
    {"grid_stride", Backend::cuda, max_tokens_bwd_grid_stride},
#endif
    {"openmp", Backend::cpu, max_tokens_bwd_openmp},
    {"reference", Backend::cpu, max_tokens_bwd_reference},
  };
  return table;
}

}  // namespace krait
