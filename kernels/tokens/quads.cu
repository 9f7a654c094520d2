// GPU rows of place forward and of mean: a thread owns four neighbouring channels, read and written
// by one instruction.
#include <algorithm>

#include "kernels/common/cuda.h"
#include "kernels/common/device/dispatch.cuh"
#include "kernels/common/device/quad.cuh"
#include "kernels/tokens/rows.h"

namespace krait {
namespace {

constexpr int threads = 256;

__device__ float4 sum(float4 a, float4 b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}
__device__ float4 times(float4 a, float s) {
  return {a.x * s, a.y * s, a.z * s, a.w * s};
}

// A thread owns a quad of (L, D), whose position and class token it reads once, for a slice of the
// images. `batch` images are read before the first is written.
constexpr int batch = 4;
template <class T>
__global__ void place_fwd(PlaceTokensFwd p, int L) {
  const int D = static_cast<int>(p.D), at = 4 * (blockIdx.x * threads + threadIdx.x);
  if (at >= L * D) return;
  const int l = at / D, d = at - l * D;
  int64_t patch;
  const int i = class_at(p, l, patch);
  float4 added = p.pos ? load_quad(static_cast<const float*>(p.pos) + at) : float4{0, 0, 0, 0};
  if (i >= 0)
    added = sum(load_quad(static_cast<const float*>(i == 0 ? p.cls[0] : p.cls[1]) + d), added);
  const T* from = static_cast<const T*>(p.patches) + patch * D + d;
  float* to = static_cast<float*>(p.y) + at;
  const int64_t end = p.B * (blockIdx.y + 1) / gridDim.y;
  for (int64_t b = p.B * blockIdx.y / gridDim.y; b < end; b += batch) {
    Quad<T> v[batch];
#pragma unroll
    for (int k = 0; k < batch; ++k) {
      v[k] = {};
      if (i < 0 && b + k < end) v[k] = load_quad(from + (b + k) * p.P * D);
    }
#pragma unroll
    for (int k = 0; k < batch; ++k)
      if (b + k < end) store_quad(to + (b + k) * L * D, sum(unpack(v[k]), added));
  }
}

// The i-th token of the mean. Parameters are not indexed by a variable: that would copy them to
// local memory first.
__device__ int chosen(const MeanTokensFwd& p, int i) {
  if (p.count == 0) return static_cast<int>(p.first) + i;
  int64_t l = p.which[0];
#pragma unroll
  for (int k = 1; k < MeanTokensFwd::most; ++k)
    if (i == k) l = p.which[k];
  return static_cast<int>(l);
}

// Mean: thread (x, y) of a block owns quad x of (B, D), and of its tokens every eighth.
constexpr int quads = 32, parts = 8;
template <class T>
__global__ void mean_fwd(MeanTokensFwd p) {
  __shared__ float4 of_part[parts][quads];
  const int D = static_cast<int>(p.D), at = 4 * (blockIdx.x * quads + threadIdx.x);
  const bool real = at < p.B * D;
  const int n = static_cast<int>(p.count ? p.count : p.L - p.first), b = at / D;
  const T* from = static_cast<const T*>(p.x) + int64_t{b} * p.L * D + (at - b * D);
  float4 s = {0, 0, 0, 0};
  if (real)
#pragma unroll 8
    for (int i = threadIdx.y; i < n; i += parts)
      s = sum(s, unpack(load_quad(from + chosen(p, i) * D)));
  of_part[threadIdx.y][threadIdx.x] = s;
  __syncthreads();
  if (threadIdx.y > 0 || !real) return;
  for (int k = 1; k < parts; ++k) s = sum(s, of_part[k][threadIdx.x]);
  const float size = static_cast<float>(n);
  store_quad(static_cast<T*>(p.y) + at, float4{s.x / size, s.y / size, s.z / size, s.w / size});
}
template <class T>
__global__ void mean_bwd(MeanTokensBwd p) {
  const int D = static_cast<int>(p.D), at = 4 * (blockIdx.x * quads + threadIdx.x);
  if (at >= p.B * D) return;
  const int L = static_cast<int>(p.L), b = at / D;
  const float4 dy = unpack(load_quad(static_cast<const T*>(p.dy) + at));
  const float share = 1.0f / static_cast<float>(p.count ? p.count : p.L - p.first);
  T* dx = static_cast<T*>(p.dx) + int64_t{b} * L * D + (at - b * D);
  for (int l = threadIdx.y; l < L; l += parts) {
    int often = p.count == 0 && l >= p.first;  // how often token l was added
#pragma unroll
    for (int i = 0; i < MeanTokensFwd::most; ++i) often += i < p.count && p.which[i] == l;
    const float4 v = times(dy, static_cast<float>(often) * share);
    T* to = dx + l * D;
    store_quad(to, p.accumulate ? sum(unpack(load_quad(to)), v) : v);
  }
}

// Quads there are, and numbers within an image and within (B, D) fit 32 bits.
template <class... P>
bool fits(int64_t B, int64_t L, int64_t D, const P*... p) {
  constexpr int64_t limit = int64_t{1} << 30;
  return D % 4 == 0 && D < limit && L < limit / D && B < limit / D && aligned_for_quads(p...);
}

}  // namespace

bool place_tokens_fwd_quads_supports(const PlaceTokensFwd& p, const Device&) {
  return fits(1, p.P + p.classes, p.D, p.patches, p.pos, p.y, p.cls[0], p.cls[1]);
}
void place_tokens_fwd_quads(const PlaceTokensFwd& p, const Launch& l) {
  const int L = static_cast<int>(p.P + p.classes);
  const unsigned blocks = blocks_for(L * p.D, 4 * threads);
  // Twice as many blocks as a large GPU runs at once, if the images suffice for that.
  const int64_t most = std::max<int64_t>(1, 2048 / blocks);
  const unsigned slices = blocks_for(p.B, batch, std::min<int64_t>(most, 65535));
  dispatch_gpu(p.dtype, [&]<class T>() {
    place_fwd<T><<<dim3(blocks, slices), threads, 0, l.stream>>>(p, L);
  });
}

bool mean_tokens_fwd_quads_supports(const MeanTokensFwd& p, const Device&) {
  return fits(p.B, p.L, p.D, p.x, p.y);
}
void mean_tokens_fwd_quads(const MeanTokensFwd& p, const Launch& l) {
  dispatch_gpu(p.dtype, [&]<class T>() {
    mean_fwd<T><<<blocks_for(p.B * p.D, 4 * quads), dim3(quads, parts), 0, l.stream>>>(p);
  });
}
bool mean_tokens_bwd_quads_supports(const MeanTokensBwd& p, const Device&) {
  return fits(p.B, p.L, p.D, p.dy, p.dx);
}
void mean_tokens_bwd_quads(const MeanTokensBwd& p, const Launch& l) {
  dispatch_gpu(p.dtype, [&]<class T>() {
    mean_bwd<T><<<blocks_for(p.B * p.D, 4 * quads), dim3(quads, parts), 0, l.stream>>>(p);
  });
}

}  // namespace krait
