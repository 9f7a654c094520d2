// The functions behind the tables of variants.cpp.
#pragma once

#include "kernels/patch_embed/patch_embed.h"

namespace krait {

void patch_embed_fwd_reference(const PatchEmbedFwd&, const Launch&);
void patch_embed_bwd_reference(const PatchEmbedBwd&, const Launch&);

void patch_embed_fwd_gather_blas(const PatchEmbedFwd&, const Launch&);
void patch_embed_bwd_gather_blas(const PatchEmbedBwd&, const Launch&);
bool patch_embed_fwd_gather_blas_supports(const PatchEmbedFwd&, const Device&);
bool patch_embed_bwd_gather_blas_supports(const PatchEmbedBwd&, const Device&);
size_t patch_embed_fwd_gather_blas_scratch(const PatchEmbedFwd&);
size_t patch_embed_bwd_gather_blas_scratch(const PatchEmbedBwd&);

#if KRAIT_CUDA
void patch_embed_fwd_gather_matmul(const PatchEmbedFwd&, const Launch&);
void patch_embed_bwd_gather_matmul(const PatchEmbedBwd&, const Launch&);
bool patch_embed_fwd_gather_matmul_supports(const PatchEmbedFwd&, const Device&);
bool patch_embed_bwd_gather_matmul_supports(const PatchEmbedBwd&, const Device&);
size_t patch_embed_fwd_gather_matmul_scratch(const PatchEmbedFwd&);
size_t patch_embed_bwd_gather_matmul_scratch(const PatchEmbedBwd&);

// to[b, c, r] = from[b, r, c] + bias[r]. from (B, rows, columns), bias (rows) f32 or null.
void transpose_planes(DType dtype, int64_t B, int64_t rows, int64_t columns, const void* from,
                      const void* bias, void* to, Stream stream);
#endif

#if KRAIT_CUDNN
void patch_embed_fwd_cudnn(const PatchEmbedFwd&, const Launch&);
void patch_embed_bwd_cudnn(const PatchEmbedBwd&, const Launch&);
bool patch_embed_fwd_cudnn_supports(const PatchEmbedFwd&, const Device&);
bool patch_embed_bwd_cudnn_supports(const PatchEmbedBwd&, const Device&);
size_t patch_embed_fwd_cudnn_scratch(const PatchEmbedFwd&);
size_t patch_embed_bwd_cudnn_scratch(const PatchEmbedBwd&);
#endif

}  // namespace krait
