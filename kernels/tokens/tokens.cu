// GPU rows of the kernels on tokens. Pointwise ones: a thread owns every (grid size)-th element.
// Pooling: a thread owns one channel of one image and walks the tokens. Neighbours are neighbouring
// channels throughout.
#include <algorithm>

#include "kernels/common/cuda.h"
#include "kernels/common/device/dispatch.cuh"
#include "kernels/tokens/rows.h"

namespace krait {
namespace {

constexpr int threads = 256;
constexpr int64_t most_blocks = 8192;

template <class T>
__device__ void put(void* to, int64_t i, float v, bool add) {
  T& t = static_cast<T*>(to)[i];
  t = T(add ? float(t) + v : v);
}
template <class T>
__device__ float get(const void* from, int64_t i) {
  return float(static_cast<const T*>(from)[i]);
}

// Element `at` of (B, L, D) as its image, token and channel. 32-bit division is several times
// cheaper.
struct Place {
  int64_t b, l, d;
};
__device__ Place place_of(int64_t at, int64_t L, int64_t D) {
  if (at < int64_t{1} << 31 && D < int64_t{1} << 31 && L < int64_t{1} << 31) {
    const uint32_t i = at, row = i / uint32_t(D), b = row / uint32_t(L);
    return {b, row - b * uint32_t(L), i - row * uint32_t(D)};
  }
  const int64_t row = at / D, b = row / L;
  return {b, row - b * L, at - row * D};
}

template <class T>
__global__ void place_fwd(PlaceTokensFwd p, int64_t L) {
  KRAIT_GRID_STRIDE(at, p.B * L * p.D) {
    const auto [b, l, d] = place_of(at, L, p.D);
    int64_t patch;
    const int i = class_at(p, l, patch);
    float v = i >= 0 ? get<float>(p.cls[i], d) : get<T>(p.patches, (b * p.P + patch) * p.D + d);
    if (p.pos) v += get<float>(p.pos, l * p.D + d);
    static_cast<float*>(p.y)[at] = v;
  }
}

// Pass 1: block (c, s) owns 256 elements of (L, D) and a slice of the images; it writes dpatches
// and the slice's sum of dy. Pass 2 adds the slices in order.
constexpr int64_t most_slices = 16;
int slices_of(const PlaceTokensBwd& p) {
  return static_cast<int>(std::clamp<int64_t>(p.B, 1, most_slices));
}
template <class T>
__global__ void place_bwd(PlaceTokensBwd p, int64_t L, float* part) {
  const int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x, n = L * p.D;
  if (at >= n) return;
  const int64_t l = at / p.D, d = at - l * p.D;
  int64_t patch;
  const bool to_patch = class_at(p, l, patch) < 0 && p.dpatches;
  const int64_t from = p.B * blockIdx.y / gridDim.y, end = p.B * (blockIdx.y + 1) / gridDim.y;
  float sum = 0;
#pragma unroll 4
  for (int64_t b = from; b < end; ++b) {
    const float dy = get<float>(p.dy, b * n + at);
    sum += dy;
    if (to_patch) put<T>(p.dpatches, (b * p.P + patch) * p.D + d, dy, p.accumulate_dpatches);
  }
  part[blockIdx.y * n + at] = sum;
}
__global__ void place_add_slices(PlaceTokensBwd p, int64_t L, int slices, const float* part) {
  const int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x, n = L * p.D;
  if (at >= n) return;
  float sum = 0;
  for (int s = 0; s < slices; ++s) sum += part[s * n + at];
  if (p.dpos) static_cast<float*>(p.dpos)[at] += sum;
  int64_t patch;
  const int i = class_at(p, at / p.D, patch);
  if (i >= 0 && p.dcls[i]) static_cast<float*>(p.dcls[i])[at % p.D] += sum;
}

template <class T>
__global__ void reverse(ReverseTokens p) {
  KRAIT_GRID_STRIDE(at, p.B * p.L * p.D) {
    const auto [b, l, d] = place_of(at, p.L, p.D);
    put<T>(p.y, at, get<T>(p.x, (b * p.L + p.L - 1 - l) * p.D + d), p.accumulate);
  }
}

template <class T>
__global__ void mean_fwd(MeanTokensFwd p) {
  KRAIT_GRID_STRIDE(at, p.B * p.D) {
    const int64_t b = at / p.D, d = at - b * p.D, n = p.count ? p.count : p.L - p.first;
    float sum = 0;
#pragma unroll 8
    for (int64_t i = 0; i < n; ++i)
      sum += get<T>(p.x, (b * p.L + (p.count ? p.which[i] : p.first + i)) * p.D + d);
    static_cast<T*>(p.y)[at] = T(sum / float(n));
  }
}
template <class T>
__global__ void mean_bwd(MeanTokensBwd p) {
  KRAIT_GRID_STRIDE(at, p.B * p.L * p.D) {
    const auto [b, l, d] = place_of(at, p.L, p.D);
    int times = p.count == 0 && l >= p.first;  // how often token l was added
    for (int i = 0; i < p.count; ++i) times += p.which[i] == l;
    const float share = float(times) / float(p.count ? p.count : p.L - p.first);
    put<T>(p.dx, at, get<T>(p.dy, b * p.D + d) * share, p.accumulate);
  }
}

template <class T>
__global__ void max_fwd(MaxTokensFwd p) {
  KRAIT_GRID_STRIDE(at, p.B * p.C) {
    const int64_t b = at / p.C, c = at - b * p.C;
    float best = get<T>(p.x, b * p.L * p.C + c);
    int64_t where = 0;
#pragma unroll 8
    for (int64_t l = 1; l < p.L; ++l) {
      const float v = get<T>(p.x, (b * p.L + l) * p.C + c);
      if (v > best) best = v, where = l;
    }
    static_cast<T*>(p.y)[at] = T(best);
    p.argmax[at] = static_cast<int32_t>(where);
  }
}
template <class T>
__global__ void max_bwd(MaxTokensBwd p) {
  KRAIT_GRID_STRIDE(at, p.B * p.L * p.C) {
    const auto [b, l, c] = place_of(at, p.L, p.C);
    const int64_t from = b * p.C + c;
    put<T>(p.dx, at, p.argmax[from] == l ? get<T>(p.dy, from) : 0.0f, p.accumulate);
  }
}

}  // namespace

void place_tokens_fwd_grid_stride(const PlaceTokensFwd& p, const Launch& l) {
  const int64_t L = p.P + p.classes;
  dispatch_gpu(p.dtype, [&]<class T>() {
    place_fwd<T><<<blocks_for(p.B * L * p.D, threads, most_blocks), threads, 0, l.stream>>>(p, L);
  });
}
size_t place_tokens_bwd_scratch(const PlaceTokensBwd& p) {
  return slices_of(p) * (p.P + p.classes) * p.D * sizeof(float);
}
void place_tokens_bwd_two_pass(const PlaceTokensBwd& p, const Launch& l) {
  const int64_t L = p.P + p.classes;
  const int slices = slices_of(p);
  const unsigned blocks = blocks_for(L * p.D, threads);
  auto part = static_cast<float*>(l.scratch);
  dispatch_gpu(p.dtype, [&]<class T>() {
    place_bwd<T><<<dim3(blocks, slices), threads, 0, l.stream>>>(p, L, part);
  });
  place_add_slices<<<blocks, threads, 0, l.stream>>>(p, L, slices, part);
}
void reverse_tokens_grid_stride(const ReverseTokens& p, const Launch& l) {
  dispatch_gpu(p.dtype, [&]<class T>() {
    reverse<T><<<blocks_for(p.B * p.L * p.D, threads, most_blocks), threads, 0, l.stream>>>(p);
  });
}
void mean_tokens_fwd_channel_per_thread(const MeanTokensFwd& p, const Launch& l) {
  dispatch_gpu(p.dtype, [&]<class T>() {
    mean_fwd<T><<<blocks_for(p.B * p.D, threads, most_blocks), threads, 0, l.stream>>>(p);
  });
}
void mean_tokens_bwd_grid_stride(const MeanTokensBwd& p, const Launch& l) {
  dispatch_gpu(p.dtype, [&]<class T>() {
    mean_bwd<T><<<blocks_for(p.B * p.L * p.D, threads, most_blocks), threads, 0, l.stream>>>(p);
  });
}
void max_tokens_fwd_channel_per_thread(const MaxTokensFwd& p, const Launch& l) {
  dispatch_gpu(p.dtype, [&]<class T>() {
    max_fwd<T><<<blocks_for(p.B * p.C, threads, most_blocks), threads, 0, l.stream>>>(p);
  });
}
void max_tokens_bwd_grid_stride(const MaxTokensBwd& p, const Launch& l) {
  dispatch_gpu(p.dtype, [&]<class T>() {
    max_bwd<T><<<blocks_for(p.B * p.L * p.C, threads, most_blocks), threads, 0, l.stream>>>(p);
  });
}

}  // namespace krait
