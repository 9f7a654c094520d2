// GPU rows: gathers the patches as rows of a matrix, then a matrix product. Also the transposition
// that the cuDNN rows need.
#include "kernels/common/cuda.h"
#include "kernels/common/device/dispatch.cuh"
#include "kernels/patch_embed/by_matmul.h"
#include "kernels/patch_embed/places.h"
#include "kernels/patch_embed/rows.h"

namespace krait {
namespace {

constexpr int threads = 256;
constexpr int64_t most_blocks = 8192;

// A thread owns every (grid size)-th element of cols (B P, C p p).
template <class T>
__global__ void gather_patches(PatchGrid g, int64_t count, const T* images, T* cols) {
  KRAIT_GRID_STRIDE(at, count) cols[at] = images[gathered_pixel(g, at)];
}

// A thread owns every (grid size)-th pixel of dimages (B, C, H, W), and adds up the patches on it.
template <class T>
__global__ void scatter_patches(PatchEmbedBwd p, const T* dcols) {
  const PatchGrid& g = p.grid;
  const int64_t P = g.patches(), n = g.numbers();
  KRAIT_GRID_STRIDE(at, p.B * g.C * g.H * g.W) {
    const int64_t x = at % g.W, y = at / g.W % g.H, plane = at / (g.W * g.H);
    const int64_t b = plane / g.C, c = plane - b * g.C;
    float sum = 0;
    for_patches_on(g, c, y, x, [&](int64_t patch, int64_t place) {
      sum += float(dcols[(b * P + patch) * n + place]);
    });
    T& to = static_cast<T*>(p.dimages)[at];
    to = T(p.accumulate_dimages ? float(to) + sum : sum);
  }
}

// A block owns a tile of 32 x 32, read along its rows and written along its columns.
constexpr int tile = 32, tile_rows = 8;
template <class T>
__global__ void transpose(int64_t rows, int64_t columns, const T* from, const float* bias, T* to) {
  __shared__ float part[tile][tile + 1];  // + 1: a column then lies in 32 different banks
  const int64_t r0 = int64_t{blockIdx.y} * tile, c0 = int64_t{blockIdx.x} * tile;
  const int64_t plane = int64_t{blockIdx.z} * rows * columns;
  for (int i = threadIdx.y; i < tile; i += tile_rows) {
    const int64_t r = r0 + i, c = c0 + threadIdx.x;
    if (r < rows && c < columns)
      part[i][threadIdx.x] = float(from[plane + r * columns + c]) + (bias ? bias[r] : 0.0f);
  }
  __syncthreads();
  for (int i = threadIdx.y; i < tile; i += tile_rows) {
    const int64_t c = c0 + i, r = r0 + threadIdx.x;
    if (r < rows && c < columns) to[plane + c * rows + r] = T(part[threadIdx.x][i]);
  }
}

template <class P>
void gather(const P& p, void* cols, const Launch& l) {
  const int64_t count = p.B * p.grid.patches() * p.grid.numbers();
  dispatch_gpu(p.dtype, [&]<class T>() {
    gather_patches<T><<<blocks_for(count, threads, most_blocks), threads, 0, l.stream>>>(
        p.grid, count, static_cast<const T*>(p.images), static_cast<T*>(cols));
  });
}
void scatter(const PatchEmbedBwd& p, const void* dcols, const Launch& l) {
  const int64_t pixels = p.B * p.grid.C * p.grid.H * p.grid.W;
  dispatch_gpu(p.dtype, [&]<class T>() {
    scatter_patches<T><<<blocks_for(pixels, threads, most_blocks), threads, 0, l.stream>>>(
        p, static_cast<const T*>(dcols));
  });
}

}  // namespace

bool patch_embed_fwd_gather_matmul_supports(const PatchEmbedFwd& p, const Device&) {
  return p.dtype != DType::f64;
}
bool patch_embed_bwd_gather_matmul_supports(const PatchEmbedBwd& p, const Device&) {
  return p.dtype != DType::f64;
}
size_t patch_embed_fwd_gather_matmul_scratch(const PatchEmbedFwd& p) {
  return by_matmul::scratch(p, Backend::cuda);
}
size_t patch_embed_bwd_gather_matmul_scratch(const PatchEmbedBwd& p) {
  return by_matmul::scratch(p, Backend::cuda);
}
void patch_embed_fwd_gather_matmul(const PatchEmbedFwd& p, const Launch& l) {
  by_matmul::run_forward(p, l, gather<PatchEmbedFwd>);
}
void patch_embed_bwd_gather_matmul(const PatchEmbedBwd& p, const Launch& l) {
  by_matmul::run_backward(p, l, gather<PatchEmbedBwd>, scatter);
}

void transpose_planes(DType dtype, int64_t B, int64_t rows, int64_t columns, const void* from,
                      const void* bias, void* to, Stream stream) {
  dispatch_gpu(dtype, [&]<class T>() {
    constexpr int64_t most = 65535;  // of blocks in z
    for (int64_t b = 0; b < B; b += most) {
      const dim3 grid(blocks_for(columns, tile), blocks_for(rows, tile),
                      static_cast<unsigned>(B - b < most ? B - b : most));
      const int64_t skip = b * rows * columns;
      transpose<T><<<grid, dim3(tile, tile_rows), 0, stream>>>(
          rows, columns, static_cast<const T*>(from) + skip, static_cast<const float*>(bias),
          static_cast<T*>(to) + skip);
    }
  });
}

}  // namespace krait
