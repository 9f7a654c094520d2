// GPU rows. A lane owns V neighbouring channels (a pair where everything is aligned for it) and
// walks along a row of the grid with the 3 x 3 tokens around it in registers: each step brings in
// three of them.
//   forward (row_walk): a warp walks one row at a time.
//   backward (strips): a block owns a strip of rows of an image. It computes dq of them, and of a
//   row above and below, into shared memory, adds up what goes to dw and db on the way, and then
//   walks over dq for dx. The blocks' sums meet in scratch and are added in order.
#include <algorithm>

#include "kernels/common/cuda.h"
#include "kernels/common/device/dispatch.cuh"
#include "kernels/common/device/fast_math.cuh"
#include "kernels/common/device/pair.cuh"
#include "kernels/depthwise_conv2d/rows.h"

namespace krait {
namespace {

constexpr int lanes = 32, warps = 8;     // of a block
constexpr int64_t fwd_blocks = 8 * 132;  // 8 or 4 on each of an H100's or H200's multiprocessors
constexpr int64_t bwd_blocks = 4 * 132;
constexpr int shared_bytes = 96 << 10;  // most of a block's dq: two blocks on a multiprocessor

template <int V>
struct Channels {
  float of[V];
};
template <int V, class T>
__device__ __forceinline__ Channels<V> load(const T* p) {
  if constexpr (V == 1) {
    return {{float(*p)}};
  } else {
    const float2 v = load_pair(p);
    return {{v.x, v.y}};
  }
}
template <int V, class T>
__device__ __forceinline__ void store(T* p, const Channels<V>& v) {
  if constexpr (V == 1)
    *p = T(v.of[0]);
  else
    store_pair(p, float2{v.of[0], v.of[1]});
}

// Calls f(x, window) for each token x of a row of W; window[i][j] is the token at row + i - 1,
// x + j - 1, zero outside. `row`: the first token of the row, tokens `step` elements apart; above,
// below: are there such rows?
template <int V, class T, class F>
__device__ __forceinline__ void walk(const T* row, int W, int step, bool above, bool below, F&& f) {
  const T* lines[3] = {row - W * step, row, row + W * step};
  const bool on[3] = {above, true, below};
  Channels<V> window[3][3] = {};
#pragma unroll
  for (int i = 0; i < 3; ++i)
    if (on[i]) window[i][2] = load<V>(lines[i]);
#pragma unroll 3
  for (int x = 0; x < W; ++x) {
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      window[i][0] = window[i][1];
      window[i][1] = window[i][2];
      window[i][2] = {};
      if (on[i] && x + 1 < W) window[i][2] = load<V>(lines[i] + (x + 1) * step);
    }
    f(x, window);
  }
}

template <int V>
struct Taps {
  Channels<V> w[9], b;
  template <class P>
  __device__ void load(const P& p, int e) {
#pragma unroll
    for (int c = 0; c < V; ++c) {
      b.of[c] = p.b ? static_cast<const float*>(p.b)[e + c] : 0.0f;
#pragma unroll
      for (int k = 0; k < 9; ++k) w[k].of[c] = static_cast<const float*>(p.w)[(e + c) * 9 + k];
    }
  }
};
__device__ __forceinline__ float sigmoid(float q) {
  return fast_reciprocal(1.0f + fast_exp2(q * -1.44269504f));
}
// q of the token in the middle of the window, for channel c of the lane.
template <int V>
__device__ __forceinline__ float q_of(const Taps<V>& taps, const Channels<V> (&window)[3][3],
                                      int c) {
  float q = taps.b.of[c];
#pragma unroll
  for (int k = 0; k < 9; ++k) q += taps.w[k].of[c] * window[k / 3][k % 3].of[c];
  return q;
}

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

// Sums of a lane over all rows of its warp: dw and db, later added over the block's warps. `shared`
// holds warps * lanes * V floats; part (10, E) is this block's.
template <int V>
__device__ void write_sums(const Channels<V> (&sums)[10], float* shared, float* part, int64_t E,
                           int e) {
#pragma unroll
  for (int k = 0; k < 10; ++k) {
    __syncthreads();  // what is in `shared` has been read
    store(shared + (threadIdx.y * lanes + threadIdx.x) * V, sums[k]);
    __syncthreads();
    if (threadIdx.y > 0 || e >= E) continue;
#pragma unroll
    for (int c = 0; c < V; ++c) {
      float sum = 0;
      for (int w = 0; w < warps; ++w) sum += shared[(w * lanes + threadIdx.x) * V + c];
      part[k * E + e + c] = sum;
    }
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

// Block (bx, k) adds the slices of 32 channels for tap k (9: the bias): row r of the block takes
// slices r, r + 16, ..; then the rows are added in order. part (slices, 10, E)
constexpr int add_rows = 16;
__global__ void add_parts(DepthwiseConv2dBwd p, int slices, const float* part) {
  __shared__ float rows[add_rows][lanes];
  const int64_t e = int64_t{blockIdx.x} * lanes + threadIdx.x;
  const int k = blockIdx.y;
  float sum = 0;
  if (e < p.E)
    for (int s = threadIdx.y; s < slices; s += add_rows)
      sum += part[(int64_t{s} * 10 + k) * p.E + e];
  rows[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y > 0 || e >= p.E) return;
  for (int r = 1; r < add_rows; ++r) sum += rows[r][threadIdx.x];
  if (k < 9 && p.dw) static_cast<float*>(p.dw)[e * 9 + k] += sum;
  if (k == 9 && p.db) static_cast<float*>(p.db)[e] += sum;
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
template <class F>
void with_width(bool pairs, F&& f) {
  if (pairs)
    f.template operator()<2>();
  else
    f.template operator()<1>();
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
  add_parts<<<dim3(blocks_for(p.E, lanes), 10), dim3(lanes, add_rows), 0, l.stream>>>(p, slices,
                                                                                      part);
}

}  // namespace krait
