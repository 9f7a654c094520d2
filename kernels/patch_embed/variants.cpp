// The tables of the patch embedding.
#include "kernels/patch_embed/rows.h"

namespace krait {

template <>
std::span<const Variant<PatchEmbedFwd>> variants<PatchEmbedFwd>() {
  static constexpr Variant<PatchEmbedFwd> table[] = {
#if KRAIT_CUDNN
    {"cudnn", Backend::cuda, patch_embed_fwd_cudnn, patch_embed_fwd_cudnn_supports,
     patch_embed_fwd_cudnn_scratch},
#endif
#if KRAIT_CUDA
    {"gather_matmul", Backend::cuda, patch_embed_fwd_gather_matmul,
     patch_embed_fwd_gather_matmul_supports, patch_embed_fwd_gather_matmul_scratch},
#endif
    {"gather_blas", Backend::cpu, patch_embed_fwd_gather_blas, patch_embed_fwd_gather_blas_supports,
     patch_embed_fwd_gather_blas_scratch},
    {"reference", Backend::cpu, patch_embed_fwd_reference},
  };
  return table;
}

template <>
std::span<const Variant<PatchEmbedBwd>> variants<PatchEmbedBwd>() {
  static constexpr Variant<PatchEmbedBwd> table[] = {
#if KRAIT_CUDNN
    {"cudnn", Backend::cuda, patch_embed_bwd_cudnn, patch_embed_bwd_cudnn_supports,
     patch_embed_bwd_cudnn_scratch},
#endif
#if KRAIT_CUDA
    {"gather_matmul", Backend::cuda, patch_embed_bwd_gather_matmul,
     patch_embed_bwd_gather_matmul_supports, patch_embed_bwd_gather_matmul_scratch},
#endif
    {"gather_blas", Backend::cpu, patch_embed_bwd_gather_blas, patch_embed_bwd_gather_blas_supports,
     patch_embed_bwd_gather_blas_scratch},
    {"reference", Backend::cpu, patch_embed_bwd_reference},
  };
  return table;
}

}  // namespace krait
