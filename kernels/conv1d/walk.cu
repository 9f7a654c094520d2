// GPU row of the backward pass. A warp walks along the tokens with two channels a lane, and copies
// ahead of itself what it will need. K tokens, a window, are in registers at a time:
//   s .. s + K-1: the side looking back has its q of token s + K-1 there, the side looking ahead
//   has its q of token s. Both take the same x, and give to dx of the same tokens.
#include <algorithm>

#include "kernels/common/device/async_copy.cuh"
#include "kernels/common/device/pair.cuh"
#include "kernels/conv1d/sides.cuh"

namespace krait {
namespace {

constexpr int warps = 4;                  // of a block, each on tokens of its own
constexpr int width = 64;                 // channels of a warp, two a lane
constexpr int step = 4;                   // windows of a chunk, which is copied as a whole
constexpr int stages = 4;                 // chunks in the ring of a warp
constexpr int64_t most_blocks = 4 * 132;  // 4 on each of an H100's or H200's multiprocessors
constexpr int64_t least_tokens = 16;      // of a warp

template <class T>
using Pair = std::conditional_t<sizeof(T) == 4, float2, uint32_t>;
__device__ float2 unpack(float2 v) {
  return v;
}
__device__ float2 unpack(uint32_t v) {
  return {__uint_as_float(v << 16), __uint_as_float(v & 0xFFFF0000u)};
}

// Rows of x and of both sides' dy that the windows of a chunk bring in: x and dy[0] of the window's
// last token, dy[1] of its first. Zero outside.
template <class T>
struct alignas(16) Chunk {
  Pair<T> x[step][32], dy[2][step][32];
};

// A lane's share of copying rows: 16 bytes of every (32 / units)-th one, the first of them token
// t's at `from`. Rows outside 0 .. end - 1 are not read.
template <class T>
constexpr int units = width * sizeof(T) / 16;  // in a row
template <class T>
__device__ __forceinline__ void copy_rows(Pair<T> (&to)[step][32], const T* from, int row, int t,
                                          int end) {
  constexpr int rows = 32 / units<T>;  // copied at once
#pragma unroll
  for (int i = 0; i < step / rows; ++i)
    async_copy_16(reinterpret_cast<char*>(to) + (threadIdx.x + 32 * i) * 16, from + i * rows * row,
                  static_cast<uint32_t>(t + i * rows) < static_cast<uint32_t>(end));
}

// Taps [side][j][channel] in the order of the window, times the scale of SiLU; later the sums that
// go to them. [K] is the bias.
template <int K>
struct Taps {
  float of[2][K + 1][2];
};

// One window: x and dx of its K tokens; dys: of both sides. Adds to dx, and if `counted` to sums.
template <class T, int K, bool counted>
__device__ __forceinline__ void window(const Taps<K>& taps, Taps<K>& sums, const float2* x,
                                       float2* dx, const float2 (&dys)[2]) {
  auto at = [](auto& v, int c) -> auto& {
    return c == 0 ? v.x : v.y;
  };
#pragma unroll
  for (int n = 0; n < 2; ++n)
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      float z = taps.of[n][K][c];
#pragma unroll
      for (int j = 0; j < K; ++j) z += taps.of[n][j][c] * at(x[j], c);
      const float dq = at(dys[n], c) * SiluByExp::slope(z);
#pragma unroll
      for (int j = 0; j < K; ++j) at(dx[j], c) += taps.of[n][j][c] * dq;
      if constexpr (counted) {
#pragma unroll
        for (int j = 0; j < K; ++j) sums.of[n][j][c] += dq * at(x[j], c);
        sums.of[n][K][c] += dq;
      }
    }
}

// What a lane carries from chunk to chunk: x and dx of the last K - 1 tokens, dx still incomplete.
template <int K>
struct Carried {
  float2 x[K - 1], dx[K - 1];
};
// The first `uncounted` windows of a chunk belong to another warp as far as the sums go.
// out[i]: dx of the first token of window i, complete.
template <class T, int K, int uncounted>
__device__ __forceinline__ void walk_chunk(const Chunk<T>& chunk, const Taps<K>& taps,
                                           Taps<K>& sums, Carried<K>& carried,
                                           float2 (&out)[step]) {
  float2 x[step + K - 1], dx[step + K - 1];
#pragma unroll
  for (int i = 0; i < step + K - 1; ++i) {
    x[i] = i < K - 1 ? carried.x[i] : unpack(chunk.x[i - (K - 1)][threadIdx.x]);
    dx[i] = i < K - 1 ? carried.dx[i] : float2{0, 0};
  }
#pragma unroll
  for (int i = 0; i < step; ++i) {
    const float2 dys[2] = {unpack(chunk.dy[0][i][threadIdx.x]),
                           unpack(chunk.dy[1][i][threadIdx.x])};
    if (i < uncounted)
      window<T, K, false>(taps, sums, x + i, dx + i, dys);
    else
      window<T, K, true>(taps, sums, x + i, dx + i, dys);
    out[i] = dx[i];
  }
#pragma unroll
  for (int i = 0; i < K - 1; ++i) carried.x[i] = x[step + i], carried.dx[i] = dx[step + i];
}

// Tokens t0 .. t1 - 1 of image b; e: the lane's channels. All windows that touch these tokens are
// looked at, from s = t0 - (K-1) on; those with s < t0 belong to the warp before, if there is one.
template <class T, int K>
__device__ __forceinline__ void walk(const Conv1dBwd& p, const Ordered<Conv1dBwd::Side>& o,
                                     const Taps<K>& taps, Taps<K>& sums, Chunk<T>* ring, int64_t b,
                                     int t0, int t1, int64_t e) {
  const int L = static_cast<int>(p.L), first = t0 - (K - 1);
  const int chunks = (t1 - first + step - 1) / step;
  const int E = static_cast<int>(p.E), x_row = static_cast<int>(p.x_row);
  const int dx_row = static_cast<int>(p.dx_row);
  const int lane = threadIdx.x;

  // What the lane copies: channels from `unit` on; next of all token t of x.
  const int unit = blockIdx.x * width + lane % units<T> * (16 / sizeof(T));
  const int end = unit < E ? min(L, t1 + K - 1) : 0, end_0 = o.on[0] ? end : 0;
  const int end_1 = unit < E && o.on[1] ? t1 : 0;
  int t = t0 + lane / units<T>;
  const T* x = static_cast<const T*>(p.x) + (b * L + t) * x_row + unit;
  const T* dy_0 = static_cast<const T*>(o.side[0].dy) + (b * L + t) * E + unit;
  const T* dy_1 = static_cast<const T*>(o.side[1].dy) + (b * L + t - (K - 1)) * E + unit;
  auto fetch = [&](Chunk<T>& to) {
    copy_rows<T>(to.x, x, x_row, t, end);
    copy_rows<T>(to.dy[0], dy_0, E, t, end_0);
    copy_rows<T>(to.dy[1], dy_1, E, t - (K - 1), end_1);
    t += step, x += step * x_row, dy_0 += step * E, dy_1 += step * E;
    close_async_group();
  };
  __syncwarp();  // the ring may still be read
  for (int c = 0; c < stages - 1; ++c) fetch(ring[c]);

  const bool mine = e < E;
  Carried<K> carried;
#pragma unroll
  for (int i = 0; i < K - 1; ++i) {
    carried.x[i] = carried.dx[i] = {0, 0};
    if (mine && first + i >= 0)
      carried.x[i] = load_pair(static_cast<const T*>(p.x) + (b * L + first + i) * x_row + e);
  }
  T* dx = static_cast<T*>(p.dx) + (b * L + first) * dx_row + e;
  Chunk<T>* before = ring + stages - 1;
  for (int c = 0; c < chunks; ++c) {
    wait_for_async_groups_but<stages - 2>();
    __syncwarp();    // every lane's copies are there, and nobody reads the chunk before any more
    fetch(*before);  // zeros, where no chunk is left
    Chunk<T>* now = ring + c % stages;
    before = now;
    float2 out[step];
    if (c == 0 && t0 > 0)
      walk_chunk<T, K, K - 1>(*now, taps, sums, carried, out);
    else
      walk_chunk<T, K, 0>(*now, taps, sums, carried, out);
    if (!mine || !p.dx) continue;
    const uint32_t place = c * step - (K - 1);  // of the first window, in this stretch of tokens
    auto inside = [&](int i) { return place + i < static_cast<uint32_t>(t1 - t0); };
    if (p.accumulate_dx)
#pragma unroll
      for (int i = 0; i < step; ++i)
        if (inside(i)) {
          const float2 old = load_pair(dx + i * dx_row);
          out[i] = {old.x + out[i].x, old.y + out[i].y};
        }
#pragma unroll
    for (int i = 0; i < step; ++i)
      if (inside(i)) store_pair(dx + i * dx_row, out[i]);
    dx += step * dx_row;
  }
  wait_for_async_copies();  // the last ones wrote zeros, which must not arrive later
}

// Block (x, slice): channels x * width on; its warps take the (slice * warps + warp)-th of equal
// parts of all tokens. part (slices, 2, K + 1, E) gets its sums.
template <class T, int K>
__global__ void __launch_bounds__(32 * warps, 4)
    bwd(Conv1dBwd p, Ordered<Conv1dBwd::Side> o, float* part) {
  extern __shared__ float4 shared[];
  const int lane = threadIdx.x, warp = threadIdx.y;
  const int64_t e = int64_t{blockIdx.x} * width + 2 * lane;
  Taps<K> taps, sums;
#pragma unroll
  for (int n = 0; n < 2; ++n)
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const auto *w = static_cast<const float*>(o.side[n].w),
                 *b = static_cast<const float*>(o.side[n].b);
      const bool there = o.on[n] && e < p.E;
#pragma unroll
      for (int j = 0; j <= K; ++j) {
        const float* from = j < K ? w + (e + c) * K + (n == 1 ? K - 1 - j : j)
                            : b   ? b + e + c
                                  : nullptr;
        taps.of[n][j][c] = there && from ? *from * SiluByExp::scale : 0.0f;
        sums.of[n][j][c] = 0;
      }
    }
  const int64_t tokens = p.B * p.L, walkers = int64_t{gridDim.y} * warps;
  const int64_t walker = int64_t{blockIdx.y} * warps + warp;
  const int64_t end = tokens * (walker + 1) / walkers;
  for (int64_t at = tokens * walker / walkers; at < end;) {
    const int64_t b = at / p.L, t0 = at - b * p.L, t1 = min(p.L, t0 + end - at);
    walk<T, K>(p, o, taps, sums, reinterpret_cast<Chunk<T>*>(shared) + warp * stages, b,
               static_cast<int>(t0), static_cast<int>(t1), e);
    at += t1 - t0;
  }
  __syncthreads();  // the rings are not needed any more
  auto* all = reinterpret_cast<float(*)[2][K + 1][width]>(shared);  // (warps, 2, K + 1, width)
#pragma unroll
  for (int n = 0; n < 2; ++n)
#pragma unroll
    for (int j = 0; j <= K; ++j)
#pragma unroll
      for (int c = 0; c < 2; ++c)
        all[warp][n][n == 1 && j < K ? K - 1 - j : j][2 * lane + c] =
            sums.of[n][j][c] * SiluByExp::scale;
  __syncthreads();
  for (int i = warp * 32 + lane; i < 2 * (K + 1) * width; i += 32 * warps) {
    const int n = i / (K + 1) / width, k = i / width % (K + 1), c = i % width;
    float v = 0;
    for (int from = 0; from < warps; ++from) v += all[from][n][k][c];
    const int64_t to = int64_t{blockIdx.x} * width + c;
    if (to < p.E) part[((int64_t{blockIdx.y} * 2 + n) * (K + 1) + k) * p.E + to] = v;
  }
}

// As many blocks as run at once, and no more than there are tokens for.
int slices_of(const Conv1dBwd& p) {
  const int64_t columns = (p.E + width - 1) / width;
  const int64_t most = std::max<int64_t>(1, p.B * p.L / (least_tokens * warps));
  return static_cast<int>(std::clamp<int64_t>(most_blocks / columns, 1, most));
}
template <class... P>
bool aligned(const P*... p) {
  return ((reinterpret_cast<uintptr_t>(p) % 16 == 0) && ...);
}

}  // namespace

bool conv1d_bwd_walk_supports(const Conv1dBwd& p, const Device& device) {
  if (p.dtype == DType::f64 || p.K < 2 || p.K > 4 || !p.silu || same_direction(p)) return false;
  const int64_t unit = 16 / static_cast<int64_t>(size_of(p.dtype));
  bool fits = device.sm >= 80 && p.E % unit == 0 && p.x_row % unit == 0 && p.dx_row % 2 == 0 &&
              rows_fit(p.L, p.E) && rows_fit(p.L, p.x_row) && rows_fit(p.L, p.dx_row) &&
              aligned(p.x) && reinterpret_cast<uintptr_t>(p.dx) % 8 == 0;
  for (int n = 0; n < p.sides; ++n) fits = fits && aligned(p.side[n].dy);
  return fits;
}
size_t conv1d_bwd_walk_scratch(const Conv1dBwd& p) {
  return size_t(slices_of(p)) * 2 * (p.K + 1) * p.E * sizeof(float);
}
void conv1d_bwd_walk(const Conv1dBwd& p, const Launch& l) {
  auto o = in_order(p);
  for (int n = 0; n < 2; ++n) o.on[n] = o.on[n] && o.side[n].dy;
  const int slices = slices_of(p);
  auto part = static_cast<float*>(l.scratch);
  const dim3 grid(blocks_for(p.E, width), slices);
  dispatch_gpu(p.dtype, [&]<class T>() {
    const size_t bytes = warps * stages * sizeof(Chunk<T>);  // at most 48 KB
    auto launch = [&]<int K>() {
      bwd<T, K><<<grid, dim3(32, warps), bytes, l.stream>>>(p, o, part);
    };
    if (p.K == 2) launch.template operator()<2>();
    if (p.K == 3) launch.template operator()<3>();
    if (p.K == 4) launch.template operator()<4>();
  });
  add_sides(o, p, slices, part, l.stream);
}

}  // namespace krait
