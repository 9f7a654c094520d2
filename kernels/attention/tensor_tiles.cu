// GPU rows `tensor_tiles`: softmax attention on the tensor cores, bf16 to f32, for heads of 32 or
// 64 numbers (the scheme of FlashAttention-2, Dao 2023).
//   - A warp owns 16 rows of a head (queries; keys in the second backward kernel) in registers, and
//     all that is summed up for them. So nothing is added by two warps, and no order can change.
//   - The block walks the other tokens in tiles of shared memory that arrive (cp.async) while
//     earlier ones are used, 16 tokens at a step.
//   - The result of a product has its numbers in the very lanes in which the next product wants its
//     left factor: scores become probabilities, are rounded to bf16, and go on, all in registers.
#include "kernels/attention/rows.h"
#include "kernels/common/cuda.h"
#include "kernels/common/device/async_copy.cuh"
#include "kernels/common/device/dispatch.cuh"
#include "kernels/common/device/fast_math.cuh"
#include "kernels/common/device/tensor_cores.cuh"

namespace krait {
namespace {

constexpr int own = 16;     // rows of a warp, and tokens of a step
constexpr int tokens = 64;  // of a tile
// Warps of a block, at most: two blocks of 7 have 197 tokens, and 128 registers a thread; three of
// 4, with 168, where 7 would not do with 128.
constexpr int query_warps = 7, key_warps = 4;
constexpr float log2e = 1.44269504088896f;

// ---- tiles in shared memory

// Rows of d numbers, 16 bytes a unit. Units are exchanged by row, so that the same unit of 8 rows
// lies in different banks.
template <int d>
using Matrix = uint4[tokens][d / 8];
template <int d>
__device__ __forceinline__ int place_of(int row, int unit) {
  constexpr int units = d / 8;
  return unit ^ row / (8 / units) % units;
}
template <int d>
struct Tile {
  Matrix<d> x, y;
  float2 of_query[tokens];
};
// The walk of a block over the L rows of x and y. Two tiles are in shared memory or on their way,
// from the start. Rows from the L-th on, up to a multiple of 16, are zeros.
template <int d>
class Walk {
 public:
  // Rows are x_row and y_row apart; of_query has L rounded up to 16, or is null.
  __device__ Walk(Tile<d> (&tiles)[2], int L, const bf16* x, int64_t x_row, const bf16* y,
                  int64_t y_row, const float2* of_query)
      : tiles_(tiles), x_(x), y_(y), of_query_(of_query), x_row_(x_row), y_row_(y_row), L_(L) {
    fetch(0);
    fetch(tokens);
  }
  // Calls use(tile, first) for the tokens from `first` on, tile after tile.
  template <class F>
  __device__ __forceinline__ void each(F&& use) {
    for (int first = 0; first < L_; first += tokens) {
      wait_for_async_groups_but<1>();
      __syncthreads();  // the tile is there for all
      use(tiles_[first / tokens % 2], first);
      __syncthreads();  // and was used by all
      fetch(first + 2 * tokens);
    }
  }

 private:
  __device__ __forceinline__ void fetch(int first) {
    if (first < L_) {
      auto& to = tiles_[first / tokens % 2];
      const int rows = min((L_ - first + own - 1) / own * own, tokens);
      for (int i = threadIdx.x; i < rows * (d / 8); i += blockDim.x) {
        const int r = i / (d / 8), unit = i % (d / 8), t = first + r;
        const int at = place_of<d>(r, unit);
        async_copy_16(&to.x[r][at], x_ + t * x_row_ + 8 * unit, t < L_);
        async_copy_16(&to.y[r][at], y_ + t * y_row_ + 8 * unit, t < L_);
      }
      if (of_query_)
        for (int i = threadIdx.x * 2; i < rows; i += blockDim.x * 2)
          async_copy_16(&to.of_query[i], of_query_ + first + i, true);
    }
    close_async_group();  // also an empty one: they are counted
  }
  Tile<d> (&tiles_)[2];
  const bf16 *x_, *y_;
  const float2* of_query_;
  int64_t x_row_, y_row_;
  int L_;
};

// ---- 16 rows of a warp. Lane i has, of them, rows i / 4 and i / 4 + 8 ("half" 0 and 1); see
// multiply_add for which columns.

template <int d>
using Factor = uint32_t[d / 16][4];  // 16 x d, bf16
template <int d>
using Sum = float[d / 8][4];  // 16 x d
using Scores = float[2][4];   // 16 x 16

// Rows from `first` on; those from the L-th on are zeros.
template <int d>
__device__ __forceinline__ void load_rows(Factor<d>& a, const bf16* from, int64_t row, int first,
                                          int L) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = first + lane / 4 + 8 * half;
    const auto* pairs = reinterpret_cast<const uint32_t*>(from + r * row) + lane % 4;
#pragma unroll
    for (int k = 0; k < d / 16; ++k) {
      a[k][half] = r < L ? pairs[8 * k] : 0;
      a[k][half + 2] = r < L ? pairs[8 * k + 4] : 0;
    }
  }
}
template <int d>
__device__ __forceinline__ void store_rows(bf16* to, int64_t row, int first, int L, bool accumulate,
                                           const Sum<d>& sum) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = first + lane / 4 + 8 * half;
    if (r >= L) return;
    auto* pairs = reinterpret_cast<uint32_t*>(to + r * row) + lane % 4;
#pragma unroll
    for (int u = 0; u < d / 8; ++u) {
      float2 v = {sum[u][2 * half], sum[u][2 * half + 1]};
      if (accumulate) {
        const uint32_t old = pairs[4 * u];
        v.x += first_of(old), v.y += second_of(old);
      }
      pairs[4 * u] = bf16_pair(v.x, v.y);
    }
  }
}
template <int d>
__device__ __forceinline__ void scale_half(Sum<d>& sum, int half, float by) {
#pragma unroll
  for (int u = 0; u < d / 8; ++u) sum[u][2 * half] *= by, sum[u][2 * half + 1] *= by;
}
// Of the four lanes that have a row.
__device__ __forceinline__ float row_max(float v) {
  v = fmaxf(v, __shfl_xor_sync(0xFFFFFFFFu, v, 1));
  return fmaxf(v, __shfl_xor_sync(0xFFFFFFFFu, v, 2));
}
__device__ __forceinline__ float row_sum(float v) {
  v += __shfl_xor_sync(0xFFFFFFFFu, v, 1);
  return v + __shfl_xor_sync(0xFFFFFFFFu, v, 2);
}

// s = a (16 tokens of m from `first` on)^T.
template <int d>
__device__ __forceinline__ void multiply(Scores& s, const Factor<d>& a, const Matrix<d>& m,
                                         int first) {
  // Lane i gives a row of (tokens 0-7, columns 0-7), (0-7, 8-15), (8-15, 0-7) or (8-15, 8-15).
  const int lane = threadIdx.x % 32, r = first + lane / 16 * 8 + lane % 8, unit = lane / 8 % 2;
#pragma unroll
  for (int n = 0; n < 2; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) s[n][e] = 0;
#pragma unroll
  for (int k = 0; k < d / 16; ++k) {
    uint32_t b[4];
    load_matrices<false>(b, m[r][place_of<d>(r, 2 * k + unit)]);
    multiply_add(s[0], a[k][0], a[k][1], a[k][2], a[k][3], b[0], b[1]);
    multiply_add(s[1], a[k][0], a[k][1], a[k][2], a[k][3], b[2], b[3]);
  }
}
// sum += w (16 tokens of m from `first` on); w is rounded to bf16.
template <int d>
__device__ __forceinline__ void add_weighted(Sum<d>& sum, const Scores& w, const Matrix<d>& m,
                                             int first) {
  const uint32_t a[4] = {bf16_pair(w[0][0], w[0][1]), bf16_pair(w[0][2], w[0][3]),
                         bf16_pair(w[1][0], w[1][1]), bf16_pair(w[1][2], w[1][3])};
  // Transposed: (tokens 0-7, columns 0-7), (8-15, 0-7), (0-7, 8-15), (8-15, 8-15).
  const int lane = threadIdx.x % 32, r = first + lane / 8 % 2 * 8 + lane % 8, unit = lane / 16;
#pragma unroll
  for (int u = 0; u < d / 8; u += 2) {
    uint32_t b[4];
    load_matrices<true>(b, m[r][place_of<d>(r, u + unit)]);
    multiply_add(sum[u], a[0], a[1], a[2], a[3], b[0], b[1]);
    multiply_add(sum[u + 1], a[0], a[1], a[2], a[3], b[2], b[3]);
  }
}
// Of 16 tokens only the first `count` are there: the scores of the others are -infinity.
__device__ __forceinline__ void mask(Scores& s, int count) {
  if (count >= own) return;
  const int first = threadIdx.x % 4 * 2;
#pragma unroll
  for (int n = 0; n < 2; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e)
      if (first + n * 8 + e % 2 >= count) s[n][e] = -INFINITY;
}

// The warp's rows start at `first`, in a head that is counted over all pictures.
struct Place {
  int64_t head;
  int first;
};
template <class P>
__device__ __forceinline__ Place place(const P& p) {
  const int warps = static_cast<int>(blockDim.x) / 32;
  const unsigned chunks = (static_cast<int>(p.L) + own * warps - 1) / (own * warps);
  return {blockIdx.x / chunks,
          static_cast<int>(blockIdx.x % chunks * warps + threadIdx.x / 32) * own};
}
template <class P>
__device__ __forceinline__ Head<P> head_of(const P& p, const Place& w) {
  return {w.head / p.heads, w.head % p.heads};
}

// ---- the kernels

// y and lse of queries. The largest score so far is subtracted from all; where a larger one comes,
// what was summed up is scaled down (Milakov & Gimelshein 2018), but only if its exponential would
// be above 2^8. That is rare after the first step, and far from what f32 can hold.
constexpr float tolerated = 8;
template <int d>
__global__ void __launch_bounds__(32 * query_warps, 2) fwd(AttentionFwd p) {
  __shared__ Tile<d> tiles[2];
  const Place w = place(p);
  const auto head = head_of(p, w);
  const int64_t W = head.width(p), row = head.qkv_row(p);
  const int L = static_cast<int>(p.L);
  const bf16* from = static_cast<const bf16*>(p.qkv) + head.qkv(p);
  const float scale = static_cast<float>(p.scale), scale2 = scale * log2e;
  Walk<d> keys(tiles, L, from + W, row, from + 2 * W, row, nullptr);
  Factor<d> q;
  load_rows<d>(q, from, row, w.first, L);
  Sum<d> sum = {};
  float most[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};  // total: this lane's part
  keys.each([&](const Tile<d>& tile, int first) {
    if (w.first >= L) return;
    const int count = min(L - first, tokens);
    for (int t = 0; t < count; t += own) {
      Scores s;
      multiply<d>(s, q, tile.x, t);
      mask(s, count - t);
      float here[2];
      bool grows = false;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int e = 2 * half;
        here[half] = row_max(fmaxf(fmaxf(s[0][e], s[0][e + 1]), fmaxf(s[1][e], s[1][e + 1])));
        if ((here[half] - most[half]) * scale2 > tolerated)
          grows = true;
        else
          here[half] = most[half];
      }
      if (__any_sync(0xFFFFFFFFu, grows))
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          // 0 at the first step; 1 for a row that stays.
          const float down = fast_exp2((most[half] - here[half]) * scale2);
          most[half] = here[half];
          total[half] *= down;
          scale_half<d>(sum, half, down);
        }
#pragma unroll
      for (int n = 0; n < 2; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          s[n][e] = fast_exp2((s[n][e] - most[e / 2]) * scale2);
          total[e / 2] += s[n][e];
        }
      add_weighted<d>(sum, s, tile.y, t);
    }
  });
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    total[half] = row_sum(total[half]);
    scale_half<d>(sum, half, 1 / total[half]);
    const int r = w.first + threadIdx.x % 32 / 4 + 8 * half;
    if (p.lse && threadIdx.x % 4 == 0 && r < L)
      static_cast<float*>(p.lse)[head.lse(p) + r] = scale * most[half] + logf(total[half]);
  }
  store_rows<d>(static_cast<bf16*>(p.y) + head.y(p), W, w.first, L, false, sum);
}

// What the second backward kernel needs of a query: log2(e) lse and delta, for every head of L
// rounded up to 16 queries; of one that is not there lse is infinite, so its probabilities are 0.
template <class P>
KRAIT_HD int64_t padded(const P& p) {
  return (p.L + own - 1) / own * own;
}

// dq of queries.
template <int d>
__global__ void __launch_bounds__(32 * query_warps, 2)
    bwd_queries(AttentionBwd p, float2* of_query) {
  __shared__ Tile<d> tiles[2];
  const Place w = place(p);
  const auto head = head_of(p, w);
  const int64_t W = head.width(p), row = head.qkv_row(p);
  const int L = static_cast<int>(p.L), lane = threadIdx.x % 32;
  const bf16* from = static_cast<const bf16*>(p.qkv) + head.qkv(p);
  const float scale = static_cast<float>(p.scale), scale2 = scale * log2e;
  Walk<d> keys(tiles, L, from + W, row, from + 2 * W, row, nullptr);
  Factor<d> q, dy;
  load_rows<d>(q, from, row, w.first, L);
  load_rows<d>(dy, static_cast<const bf16*>(p.dy) + head.y(p), W, w.first, L);
  float lse[2], delta[2];
  {
    // delta is the diagonal of dy y^T. Made like dp, it cancels exactly where y is one key's v.
    // The registers of y as a left factor are those of y^T as a right one.
    Factor<d> y;
    load_rows<d>(y, static_cast<const bf16*>(p.y) + head.y(p), W, w.first, L);
    Scores all = {};
#pragma unroll
    for (int k = 0; k < d / 16; ++k)
#pragma unroll
      for (int n = 0; n < 2; ++n)
        multiply_add(all[n], dy[k][0], dy[k][1], dy[k][2], dy[k][3], y[k][n], y[k][n + 2]);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int i = lane / 4, r = w.first + i + 8 * half;
      const float mine = i % 2 ? all[half][2 * half + 1] : all[half][2 * half];
      delta[half] = __shfl_sync(0xFFFFFFFFu, mine, i * 4 + i / 2);
      lse[half] = r < L ? log2e * static_cast<const float*>(p.lse)[head.lse(p) + r] : INFINITY;
      if (lane % 4 == 0 && r < padded(p))
        of_query[w.head * padded(p) + r] = {lse[half], delta[half]};
    }
  }
  Sum<d> dq = {};
  keys.each([&](const Tile<d>& tile, int first) {
    if (w.first >= L) return;
    const int count = min(L - first, tokens);
    for (int t = 0; t < count; t += own) {
      Scores s, dp;
      multiply<d>(s, q, tile.x, t);
      multiply<d>(dp, dy, tile.y, t);
      mask(s, count - t);
#pragma unroll
      for (int n = 0; n < 2; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const float prob = fast_exp2(fmaf(s[n][e], scale2, -lse[e / 2]));
          dp[n][e] = prob * (dp[n][e] - delta[e / 2]);
        }
      add_weighted<d>(dq, dp, tile.x, t);
    }
  });
#pragma unroll
  for (int half = 0; half < 2; ++half) scale_half<d>(dq, half, scale);
  bf16* to = static_cast<bf16*>(p.dqkv) + head.qkv(p);
  store_rows<d>(to, row, w.first, L, p.accumulate, dq);
}

// dk and dv of keys; scores and all that is made of them are transposed: a row is a key's.
template <int d>
__global__ void __launch_bounds__(32 * key_warps, 3)
    bwd_keys(AttentionBwd p, const float2* of_query) {
  __shared__ Tile<d> tiles[2];
  const Place w = place(p);
  const auto head = head_of(p, w);
  const int64_t W = head.width(p), row = head.qkv_row(p);
  const int L = static_cast<int>(p.L);
  const bf16* from = static_cast<const bf16*>(p.qkv) + head.qkv(p);
  const float scale = static_cast<float>(p.scale), scale2 = scale * log2e;
  Walk<d> queries(tiles, L, from, row, static_cast<const bf16*>(p.dy) + head.y(p), W,
                  of_query + w.head * padded(p));
  Factor<d> k, v;
  load_rows<d>(k, from + W, row, w.first, L);
  load_rows<d>(v, from + 2 * W, row, w.first, L);
  Sum<d> dk = {}, dv = {};
  queries.each([&](const Tile<d>& tile, int first) {
    if (w.first >= L) return;
    const int count = min(L - first, tokens);
    for (int t = 0; t < count; t += own) {
      Scores s, dp;
      multiply<d>(s, k, tile.x, t);
      multiply<d>(dp, v, tile.y, t);
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        // Two neighbouring queries: lse, delta, lse, delta.
        const auto& two =
            reinterpret_cast<const float4&>(tile.of_query[t + n * 8 + threadIdx.x % 4 * 2]);
        const float lse[2] = {two.x, two.z}, delta[2] = {two.y, two.w};
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          s[n][e] = fast_exp2(fmaf(s[n][e], scale2, -lse[e % 2]));
          dp[n][e] = s[n][e] * (dp[n][e] - delta[e % 2]);
        }
      }
      add_weighted<d>(dv, s, tile.y, t);
      add_weighted<d>(dk, dp, tile.x, t);
    }
  });
#pragma unroll
  for (int half = 0; half < 2; ++half) scale_half<d>(dk, half, scale);
  bf16* to = static_cast<bf16*>(p.dqkv) + head.qkv(p);
  store_rows<d>(to + W, row, w.first, L, p.accumulate, dk);
  store_rows<d>(to + 2 * W, row, w.first, L, p.accumulate, dv);
}

// As few blocks to a head as can be, all of the same number of warps.
struct Grid {
  unsigned blocks, threads;
};
template <class P>
Grid grid_of(const P& p, int most_warps) {
  const int64_t parts = (p.L + own - 1) / own, chunks = (parts + most_warps - 1) / most_warps;
  const int64_t warps = (parts + chunks - 1) / chunks;
  return {static_cast<unsigned>(p.B * p.heads * chunks), static_cast<unsigned>(32 * warps)};
}
template <class P>
bool fits(const P& p, const Device& device) {
  return device.sm >= 80 && p.dtype == DType::bf16 && (p.d == 32 || p.d == 64) && p.scale > 0 &&
         p.B > 0 && p.heads > 0 && p.L > 0 && p.L * p.heads * p.B < int64_t{1} << 30;
}
bool on_16(std::initializer_list<const void*> pointers) {
  for (const void* p : pointers)
    if (reinterpret_cast<uintptr_t>(p) % 16) return false;
  return true;
}
template <class F>
void with_width(int64_t d, F&& f) {
  if (d == 32) return f.template operator()<32>();
  f.template operator()<64>();
}

}  // namespace

bool attention_fwd_tensor_tiles_supports(const AttentionFwd& p, const Device& device) {
  return fits(p, device) && on_16({p.qkv, p.y});
}
void attention_fwd_tensor_tiles(const AttentionFwd& p, const Launch& l) {
  const Grid g = grid_of(p, query_warps);
  with_width(p.d, [&]<int d>() { fwd<d><<<g.blocks, g.threads, 0, l.stream>>>(p); });
}
bool attention_bwd_tensor_tiles_supports(const AttentionBwd& p, const Device& device) {
  return fits(p, device) && on_16({p.qkv, p.y, p.dy, p.dqkv});
}
size_t attention_bwd_tensor_tiles_scratch(const AttentionBwd& p) {
  return p.B * p.heads * padded(p) * sizeof(float2);
}
void attention_bwd_tensor_tiles(const AttentionBwd& p, const Launch& l) {
  const Grid of_queries = grid_of(p, query_warps), of_keys = grid_of(p, key_warps);
  auto of_query = static_cast<float2*>(l.scratch);
  with_width(p.d, [&]<int d>() {
    bwd_queries<d><<<of_queries.blocks, of_queries.threads, 0, l.stream>>>(p, of_query);
    bwd_keys<d><<<of_keys.blocks, of_keys.threads, 0, l.stream>>>(p, of_query);
  });
}

}  // namespace krait
