// CPU rows, f32: gathers the patches as rows of a matrix, then a matrix product.
#include "kernels/patch_embed/by_matmul.h"
#include "kernels/patch_embed/places.h"
#include "kernels/patch_embed/rows.h"

namespace krait {
namespace {

template <class P>
void gather(const P& p, void* to, const Launch&) {
  const int64_t rows = p.B * p.grid.patches(), n = p.grid.numbers(), side = p.grid.p;
  const float* images = static_cast<const float*>(p.images);
  float* cols = static_cast<float*>(to);
#pragma omp parallel for schedule(static)
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < n; i += side)  // a patch's row of pixels lies side by side
      std::copy_n(images + gathered_pixel(p.grid, r * n + i), side, cols + r * n + i);
}

void scatter(const PatchEmbedBwd& p, const void* from, const Launch&) {
  const PatchGrid& g = p.grid;
  const int64_t P = g.patches(), n = g.numbers(), planes = p.B * g.C;
  const float* dcols = static_cast<const float*>(from);
#pragma omp parallel for schedule(static)
  for (int64_t plane = 0; plane < planes; ++plane)
    for (int64_t y = 0; y < g.H; ++y)
      for (int64_t x = 0; x < g.W; ++x) {
        float sum = 0;
        for_patches_on(g, plane % g.C, y, x, [&](int64_t patch, int64_t place) {
          sum += dcols[(plane / g.C * P + patch) * n + place];
        });
        float& to = static_cast<float*>(p.dimages)[(plane * g.H + y) * g.W + x];
        to = p.accumulate_dimages ? to + sum : sum;
      }
}

}  // namespace

bool patch_embed_fwd_gather_blas_supports(const PatchEmbedFwd& p, const Device&) {
  return p.dtype == DType::f32;
}
bool patch_embed_bwd_gather_blas_supports(const PatchEmbedBwd& p, const Device&) {
  return p.dtype == DType::f32;
}
size_t patch_embed_fwd_gather_blas_scratch(const PatchEmbedFwd& p) {
  return by_matmul::scratch(p, Backend::cpu);
}
size_t patch_embed_bwd_gather_blas_scratch(const PatchEmbedBwd& p) {
  return by_matmul::scratch(p, Backend::cpu);
}
void patch_embed_fwd_gather_blas(const PatchEmbedFwd& p, const Launch& l) {
  by_matmul::run_forward(p, l, gather<PatchEmbedFwd>);
}
void patch_embed_bwd_gather_blas(const PatchEmbedBwd& p, const Launch& l) {
  by_matmul::run_backward(p, l, gather<PatchEmbedBwd>, scatter);
}

}  // namespace krait
