// GPU rows. A lane owns V neighbouring channels (a pair where everything is aligned for it) and
// walks along a row of the grid with the 3 x 3 tokens around it in registers: each step brings in
// three of them.
//   forward (row_walk): a warp walks one row at a time.
//   backward (strips): a block owns a strip of rows of an image. It computes dq of them, and of a
//   row above and below, into shared memory, adds up what goes to dw and db on the way, and then
//   walks over dq for dx. The blocks' sums meet in scratch and are added in order.
#include <algorithm>

#include "kernels/common/cuda.h"
#include "kernels/depthwise_conv2d/row_walk.cuh"
#include "kernels/depthwise_conv2d/rows.h"

namespace krait {
namespace {

constexpr int64_t fwd_blocks = 8 * 132;  // 8 or 4 on each of an H100's or H200's multiprocessors
constexpr int64_t bwd_blocks = 4 * 132;
constexpr int shared_bytes = 96 << 10;  // most of a block's dq: two blocks on a multiprocessor

template <class T, int V>
__global__ void __launch_bounds__(lanes* warps) fwd(DepthwiseConv2dFwd p) {
  const int e = (blockIdx.x * lanes + threadIdx.x) * V, W = int(p.W);
  if (e >= p.E) return;
  Taps<V> taps;
  taps.load(p, e);
  for (int64_t row = int64_t{blockIdx.y} * warps + threadIdx.y; row < p.B * p.H;
       row += int64_t{gridDim.y} * warps) {
    const int64_t y = row % p.H;
    const T* x = static_cast<const T*>(p.x) + row * p.W * p.x_row + e;
    T* to = static_cast<T*>(p.y) + row * p.W * p.E + e;
    walk<V>(x, W, int(p.x_row), y > 0, y + 1 < p.H, [&](int at, const Channels<V>(&window)[3][3]) {
      Channels<V> out;
#pragma unroll
      for (int c = 0; c < V; ++c) {
        const float q = q_of(taps, window, c);
        out.of[c] = p.silu ? q * sigmoid(q) : q;
      }
      store(to + at * int(p.E), out);
    });
  }
}

// Block (bx, s) owns lanes * V channels and every (grid size)-th strip of `high` rows.
// Shared: dq ((high + 2) rows of W tokens, lanes * V), from the row above the strip on.
template <class T, int V>
__global__ void __launch_bounds__(lanes* warps, 2)
    bwd(DepthwiseConv2dBwd p, int high, int strips, float* part) {
  extern __shared__ float2 memory[];  // aligned for pairs
  constexpr int wide = lanes * V;
  float* const dq = reinterpret_cast<float*>(memory);
  const int lane = threadIdx.x * V, e = blockIdx.x * wide + lane;
  const bool real = e < p.E;
  const int H = int(p.H), W = int(p.W), E = int(p.E);
  Taps<V> taps;
  if (real) taps.load(p, e);
  Channels<V> sums[10] = {};
  for (int64_t at = blockIdx.y; at < p.B * strips; at += gridDim.y) {
    const int64_t b = at / strips;
    const int y0 = int(at - b * strips) * high, y1 = min(y0 + high, H);
    const T* image = static_cast<const T*>(p.x) + b * H * W * p.x_row + e;
    const T* dy = static_cast<const T*>(p.dy) + b * H * W * p.E + e;
    T* dx = static_cast<T*>(p.dx) + b * H * W * p.dx_row + e;
    __syncthreads();  // dq of the strip before has been read
    for (int y = max(y0 - 1, 0) + threadIdx.y; real && y < min(y1 + 1, H); y += warps) {
      const bool own = y0 <= y && y < y1;  // else another block adds it to the sums
      walk<V>(image + int64_t{y} * W * p.x_row, W, int(p.x_row), y > 0, y + 1 < H,
              [&](int x, const Channels<V>(&window)[3][3]) {
                Channels<V> d = load<V>(dy + (y * W + x) * E);
#pragma unroll
                for (int c = 0; c < V; ++c) {
                  const float q = q_of(taps, window, c), s = sigmoid(q);
                  if (p.silu) d.of[c] *= s * (1.0f + q * (1.0f - s));
                  if (!own) continue;
#pragma unroll
                  for (int k = 0; k < 9; ++k) sums[k].of[c] += d.of[c] * window[k / 3][k % 3].of[c];
                  sums[9].of[c] += d.of[c];
                }
                store(dq + ((y - y0 + 1) * W + x) * wide + lane, d);
              });
    }
    __syncthreads();
    for (int y = y0 + threadIdx.y; real && p.dx && y < y1; y += warps)
      walk<V>(dq + (y - y0 + 1) * W * wide + lane, W, wide, y > 0, y + 1 < H,
              [&](int x, const Channels<V>(&window)[3][3]) {
                T* to = dx + int64_t{y * W + x} * p.dx_row;
                Channels<V> out = {};
                if (p.accumulate_dx) out = load<V>(to);
#pragma unroll
                for (int c = 0; c < V; ++c)
#pragma unroll
                  for (int k = 0; k < 9; ++k)
                    out.of[c] += taps.w[8 - k].of[c] * window[k / 3][k % 3].of[c];
                store(to, out);
              });
  }
  write_sums(sums, dq, part + int64_t{blockIdx.y} * 10 * p.E, p.E, e);
}

// Rows of a strip: all, or as many as fit into shared memory with one more above and below; strips
// of like size.
int strip_height(const DepthwiseConv2dBwd& p, int V) {
  const int64_t row_bytes = p.W * lanes * V * int64_t(sizeof(float));
  const int64_t most = std::min(p.H, shared_bytes / row_bytes - 2);
  if (most < 1) return 0;
  const int64_t strips = (p.H + most - 1) / most;
  return static_cast<int>((p.H + strips - 1) / strips);
}
bool pairs(const DepthwiseConv2dFwd& p) {
  return p.E % 2 == 0 && p.x_row % 2 == 0 && aligned_for_pairs(p.x, p.y);
}
bool pairs(const DepthwiseConv2dBwd& p) {
  return p.E % 2 == 0 && p.x_row % 2 == 0 && p.dx_row % 2 == 0 &&
         aligned_for_pairs(p.x, p.dy, p.dx) && strip_height(p, 2) > 0;
}
// Offsets inside an image take 32 bits.
bool image_fits(int64_t L, int64_t row) {
  return L * row < int64_t{1} << 31;
}
// Strips shared out to a number of blocks that does not depend on pairs: scratch is as large.
int slices_of(const DepthwiseConv2dBwd& p) {
  const int V = pairs(p) ? 2 : 1;
  const int64_t high = strip_height(p, V), strips = (p.H + high - 1) / high;
  const int64_t most = std::max<int64_t>(1, bwd_blocks / blocks_for(p.E, lanes * V));
  return static_cast<int>(std::min(p.B * strips, most));
}

}  // namespace

bool depthwise_conv2d_fwd_row_walk_supports(const DepthwiseConv2dFwd& p, const Device&) {
  return p.dtype != DType::f64 && image_fits(p.H * p.W, std::max(p.x_row, p.E));
}
void depthwise_conv2d_fwd_row_walk(const DepthwiseConv2dFwd& p, const Launch& l) {
  dispatch_gpu(p.dtype, [&]<class T>() {
    with_width(pairs(p), [&]<int V>() {
      const unsigned x = blocks_for(p.E, lanes * V);
      const unsigned y = blocks_for(p.B * p.H, warps, std::max<int64_t>(1, fwd_blocks / x));
      fwd<T, V><<<dim3(x, y), dim3(lanes, warps), 0, l.stream>>>(p);
    });
  });
}

bool depthwise_conv2d_bwd_strips_supports(const DepthwiseConv2dBwd& p, const Device&) {
  return p.dtype != DType::f64 && strip_height(p, 1) > 0 &&
         image_fits(p.H * p.W, std::max({p.x_row, p.dx_row, p.E}));
}
size_t depthwise_conv2d_bwd_strips_scratch(const DepthwiseConv2dBwd& p) {
  return size_t(slices_of(p)) * 10 * p.E * sizeof(float);
}
void depthwise_conv2d_bwd_strips(const DepthwiseConv2dBwd& p, const Launch& l) {
  const int slices = slices_of(p);
  float* part = static_cast<float*>(l.scratch);
  dispatch_gpu(p.dtype, [&]<class T>() {
    with_width(pairs(p), [&]<int V>() {
      const int high = strip_height(p, V), strips = static_cast<int>((p.H + high - 1) / high);
      const int bytes =
          std::max<int>((high + 2) * int(p.W), warps) * lanes * V * int(sizeof(float));
      KRAIT_CUDA_CHECK(
          cudaFuncSetAttribute(bwd<T, V>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
      bwd<T, V><<<dim3(blocks_for(p.E, lanes * V), slices), dim3(lanes, warps), bytes, l.stream>>>(
          p, high, strips, part);
    });
  });
  launch_add_parts(p, slices, part, l);
}

}  // namespace krait
