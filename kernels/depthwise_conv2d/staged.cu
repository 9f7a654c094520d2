// GPU rows `staged`: the walk of row_walk.cu over images that lie in shared memory. While a block
// works on one image, 64 channels of it, the next arrives (cp.async), so that no step of the walk
// waits for device memory, and each token is read from there once instead of three times.
// Whole images only: up to 200 tokens in bf16 and 100 in f32, backward up to 133 and 80.
#include <algorithm>

#include "kernels/common/cuda.h"
#include "kernels/common/device/async_copy.cuh"
#include "kernels/depthwise_conv2d/row_walk.cuh"
#include "kernels/depthwise_conv2d/rows.h"

namespace krait {
namespace {

constexpr int wide = lanes * 2;          // channels of a block
constexpr int64_t fwd_blocks = 4 * 132;  // 4 or 2 on each of an H100's or H200's multiprocessors
constexpr int64_t bwd_blocks = 2 * 132;
constexpr int64_t shared_bytes = 100 << 10;  // most of a block: two blocks on a multiprocessor

// Queues the tokens of an image, `wide` channels from e on, into `to` (tokens, wide). `image`: its
// first token, tokens `row` elements apart. Channels past E become zeros.
template <class T>
__device__ __forceinline__ void stage(T* to, const T* image, int tokens, int row, int e, int E) {
  constexpr int each = 16 / sizeof(T), pieces = wide / each;
  const int thread = threadIdx.y * lanes + threadIdx.x;
  for (int i = thread; i < tokens * pieces; i += lanes * warps) {
    const int token = i / pieces, c = i % pieces * each;
    const bool real = e + c < E;
    async_copy_16(to + token * wide + c, real ? image + int64_t{token} * row + e + c : image, real);
  }
}

// Block (bx, s): channels 64 bx + [0, 64) of images s, s + gridDim.y, ... Shared: two images of x.
template <class T>
__global__ void __launch_bounds__(lanes* warps, 4) staged_fwd(DepthwiseConv2dFwd p) {
  extern __shared__ uint4 memory[];
  T* const xs = reinterpret_cast<T*>(memory);
  const int lane = threadIdx.x * 2, e0 = blockIdx.x * wide, e = e0 + lane;
  const int H = int(p.H), W = int(p.W), L = H * W, E = int(p.E), row = int(p.x_row);
  const bool real = e < E;
  const auto fetch = [&](int64_t b, int slot) {
    if (b < p.B)
      stage(xs + slot * L * wide, static_cast<const T*>(p.x) + b * L * row, L, row, e0, E);
    close_async_group();
  };
  fetch(blockIdx.y, 0);
  Taps<2> taps;
  if (real) taps.load(p, e);
  int slot = 0;
  for (int64_t b = blockIdx.y; b < p.B; b += gridDim.y, slot ^= 1) {
    fetch(b + gridDim.y, slot ^ 1);
    wait_for_async_groups_but<1>();
    __syncthreads();
    const T* image = xs + slot * L * wide + lane;
    T* to = static_cast<T*>(p.y) + b * L * E + e;
    for (int y = threadIdx.y; real && y < H; y += warps)
      walk<2>(image + y * W * wide, W, wide, y > 0, y + 1 < H,
              [&](int x, const Channels<2>(&window)[3][3]) {
                Channels<2> out;
#pragma unroll
                for (int c = 0; c < 2; ++c) {
                  const float q = q_of(taps, window, c);
                  out.of[c] = p.silu ? q * sigmoid(q) : q;
                }
                store(to + (y * W + x) * E, out);
              });
    __syncthreads();  // this slot has been read
  }
}

// The same images. Shared: two of x, two of dy, one of dq in f32.
template <class T>
__global__ void __launch_bounds__(lanes* warps, 2) staged_bwd(DepthwiseConv2dBwd p, float* part) {
  extern __shared__ uint4 memory[];
  const int lane = threadIdx.x * 2, e0 = blockIdx.x * wide, e = e0 + lane;
  const int H = int(p.H), W = int(p.W), L = H * W, E = int(p.E), row = int(p.x_row);
  T* const xs = reinterpret_cast<T*>(memory);
  T* const dys = xs + 2 * L * wide;
  float* const dq = reinterpret_cast<float*>(dys + 2 * L * wide);
  const bool real = e < E;
  const auto fetch = [&](int64_t b, int slot) {
    if (b < p.B) {
      stage(xs + slot * L * wide, static_cast<const T*>(p.x) + b * L * row, L, row, e0, E);
      stage(dys + slot * L * wide, static_cast<const T*>(p.dy) + b * L * E, L, E, e0, E);
    }
    close_async_group();
  };
  fetch(blockIdx.y, 0);
  Taps<2> taps;
  if (real) taps.load(p, e);
  Channels<2> sums[10] = {};
  int slot = 0;
  for (int64_t b = blockIdx.y; b < p.B; b += gridDim.y, slot ^= 1) {
    fetch(b + gridDim.y, slot ^ 1);
    wait_for_async_groups_but<1>();
    __syncthreads();  // x and dy are here, and dq of the image before has been read
    const T* image = xs + slot * L * wide + lane;
    const T* dy = dys + slot * L * wide + lane;
    for (int y = threadIdx.y; real && y < H; y += warps)
      walk<2>(image + y * W * wide, W, wide, y > 0, y + 1 < H,
              [&](int x, const Channels<2>(&window)[3][3]) {
                const int at = (y * W + x) * wide;
                Channels<2> d = load<2>(dy + at);
#pragma unroll
                for (int c = 0; c < 2; ++c) {
                  const float q = q_of(taps, window, c), s = sigmoid(q);
                  if (p.silu) d.of[c] *= s * (1.0f + q * (1.0f - s));
#pragma unroll
                  for (int k = 0; k < 9; ++k) sums[k].of[c] += d.of[c] * window[k / 3][k % 3].of[c];
                  sums[9].of[c] += d.of[c];
                }
                store(dq + at + lane, d);
              });
    __syncthreads();  // dq is here, and this slot has been read
    T* dx = static_cast<T*>(p.dx) + b * L * p.dx_row + e;
    for (int y = threadIdx.y; real && p.dx && y < H; y += warps)
      walk<2>(dq + y * W * wide + lane, W, wide, y > 0, y + 1 < H,
              [&](int x, const Channels<2>(&window)[3][3]) {
                T* to = dx + (y * W + x) * int(p.dx_row);
                Channels<2> out = {};
                if (p.accumulate_dx) out = load<2>(to);
#pragma unroll
                for (int c = 0; c < 2; ++c)
#pragma unroll
                  for (int k = 0; k < 9; ++k)
                    out.of[c] += taps.w[8 - k].of[c] * window[k / 3][k % 3].of[c];
                store(to, out);
              });
  }
  __syncthreads();
  write_sums(sums, reinterpret_cast<float*>(memory), part + int64_t{blockIdx.y} * 10 * E, E, e);
}

int64_t fwd_bytes(const DepthwiseConv2dFwd& p) {
  return 2 * p.H * p.W * wide * int64_t(size_of(p.dtype));
}
int64_t bwd_bytes(const DepthwiseConv2dBwd& p) {
  const int64_t tokens = p.H * p.W * wide;
  return std::max<int64_t>(4 * tokens * int64_t(size_of(p.dtype)) + tokens * 4,
                           wide * warps * 4);  // what write_sums wants
}
// Copies of 16 bytes: is everything aligned for them?
template <class... P>
bool aligned_for_copies(DType t, int64_t E, int64_t row, const P*... p) {
  const int64_t each = 16 / int64_t(size_of(t));
  return E % each == 0 && row % each == 0 && ((reinterpret_cast<uintptr_t>(p) % 16 == 0) && ...);
}
int images_at_once(int64_t B, int64_t E, int64_t blocks) {
  return int(std::min(B, std::max<int64_t>(1, blocks / blocks_for(E, wide))));
}

}  // namespace

bool depthwise_conv2d_fwd_staged_supports(const DepthwiseConv2dFwd& p, const Device&) {
  return p.dtype != DType::f64 && fwd_bytes(p) <= shared_bytes / 2 &&
         aligned_for_copies(p.dtype, p.E, p.x_row, p.x) && aligned_for_pairs(p.y);
}
void depthwise_conv2d_fwd_staged(const DepthwiseConv2dFwd& p, const Launch& l) {
  const dim3 grid(blocks_for(p.E, wide), images_at_once(p.B, p.E, fwd_blocks));
  const int bytes = int(fwd_bytes(p));
  dispatch_gpu(p.dtype, [&]<class T>() {
    KRAIT_CUDA_CHECK(
        cudaFuncSetAttribute(staged_fwd<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
    staged_fwd<T><<<grid, dim3(lanes, warps), bytes, l.stream>>>(p);
  });
}

bool depthwise_conv2d_bwd_staged_supports(const DepthwiseConv2dBwd& p, const Device&) {
  return p.dtype != DType::f64 && bwd_bytes(p) <= shared_bytes &&
         aligned_for_copies(p.dtype, p.E, p.x_row, p.x, p.dy) && p.dx_row % 2 == 0 &&
         aligned_for_pairs(p.dx);
}
size_t depthwise_conv2d_bwd_staged_scratch(const DepthwiseConv2dBwd& p) {
  return size_t(images_at_once(p.B, p.E, bwd_blocks)) * 10 * p.E * sizeof(float);
}
void depthwise_conv2d_bwd_staged(const DepthwiseConv2dBwd& p, const Launch& l) {
  const int slices = images_at_once(p.B, p.E, bwd_blocks), bytes = int(bwd_bytes(p));
  float* part = static_cast<float*>(l.scratch);
  dispatch_gpu(p.dtype, [&]<class T>() {
    KRAIT_CUDA_CHECK(
        cudaFuncSetAttribute(staged_bwd<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
    staged_bwd<T>
        <<<dim3(blocks_for(p.E, wide), slices), dim3(lanes, warps), bytes, l.stream>>>(p, part);
  });
  launch_add_parts(p, slices, part, l);
}

}  // namespace krait
