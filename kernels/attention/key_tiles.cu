// GPU rows. A row of a head (a query; in the backward pass of keys and values, a key) is held in
// the registers of `lanes` neighbouring threads, 32 of its numbers in each. The block walks the
// other tokens of the head in tiles that it brings to shared memory as f32; all rows of a warp read
// the same token of the tile at once. Any L; heads of up to 256 numbers.
#include "kernels/attention/rows.h"
#include "kernels/common/device/dispatch.cuh"

namespace krait {
namespace {

constexpr int threads = 128;
constexpr int quads = 8;           // of four numbers, in a lane
constexpr int tile_floats = 2048;  // of each of the two tiles

// What depends on the lanes for a row. Lane g of a row has the quads g, g + lanes, ..., so that the
// lanes of a row read neighbouring quads of the tile.
template <int lanes>
struct Layout {
  static constexpr int width = 4 * quads * lanes;   // the head's, with zeros behind
  static constexpr int rows = threads / lanes;      // of a block
  static constexpr int tile = tile_floats / width;  // tokens
};

struct Row {
  float4 v[quads];
};
__device__ __forceinline__ float dot(float4 a, float4 b, float s) {
  return fmaf(a.x, b.x, fmaf(a.y, b.y, fmaf(a.z, b.z, fmaf(a.w, b.w, s))));
}
__device__ __forceinline__ void add(float4& to, float s, float4 v) {
  to.x = fmaf(s, v.x, to.x);
  to.y = fmaf(s, v.y, to.y);
  to.z = fmaf(s, v.z, to.z);
  to.w = fmaf(s, v.w, to.w);
}
// The sum over the lanes of a row; each gets it.
template <int lanes>
__device__ __forceinline__ float row_sum(float v) {
#pragma unroll
  for (int o = lanes / 2; o > 0; o /= 2) v += __shfl_xor_sync(0xFFFFFFFFu, v, o);
  return v;
}
// The products of a row with a token of a tile; `token` is the lane's first quad of it.
template <int lanes>
__device__ __forceinline__ float row_dot(const Row& r, const float4* token) {
  float s = 0;
#pragma unroll
  for (int k = 0; k < quads; ++k) s = dot(r.v[k], token[k * lanes], s);
  return row_sum<lanes>(s);
}
template <int lanes>
__device__ __forceinline__ void row_add(Row& r, float s, const float4* token) {
#pragma unroll
  for (int k = 0; k < quads; ++k) add(r.v[k], s, token[k * lanes]);
}
__device__ __forceinline__ void clear(Row& r) {
#pragma unroll
  for (int k = 0; k < quads; ++k) r.v[k] = float4{0, 0, 0, 0};
}

// Four numbers from the c-th on, zero from the d-th on; null: zeros.
template <class T>
__device__ __forceinline__ float4 quad_at(const T* from, int c, int d) {
  auto at = [&](int i) { return from && c + i < d ? float(from[c + i]) : 0.0f; };
  return {at(0), at(1), at(2), at(3)};
}
template <int lanes, class T>
__device__ __forceinline__ Row load_row(const T* from, int lane, int d) {
  Row r;
#pragma unroll
  for (int k = 0; k < quads; ++k) r.v[k] = quad_at(from, 4 * (k * lanes + lane), d);
  return r;
}
template <int lanes, class T>
__device__ __forceinline__ void store_row(T* to, int lane, int d, bool accumulate, const Row& r) {
#pragma unroll
  for (int k = 0; k < quads; ++k) {
    const float v[4] = {r.v[k].x, r.v[k].y, r.v[k].z, r.v[k].w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int c = 4 * (k * lanes + lane) + i;
      if (c < d) to[c] = T(accumulate ? float(to[c]) + v[i] : v[i]);
    }
  }
}
// Tokens [first, first + tile) of rows `row` apart; those from the L-th on are zeros.
template <int lanes, class T>
__device__ __forceinline__ void load_tile(const T* from, int64_t row, int64_t first, int64_t L,
                                          int d, float4* to) {
  constexpr int of_token = Layout<lanes>::width / 4;
  for (int i = threadIdx.x; i < tile_floats / 4; i += threads) {
    const int64_t t = first + i / of_token;
    to[i] = quad_at(t < L ? from + t * row : nullptr, i % of_token * 4, d);
  }
}

// What a thread works on: row `at` of head h of picture b. A row that is not there is loaded as
// zeros and not stored; its thread takes part in everything else.
struct Place {
  int64_t at;
  int lane;
  bool real;
  int64_t head;  // of all pictures' heads
};
template <int lanes, class P>
__device__ __forceinline__ Place place(const P& p) {
  const int64_t chunks = (p.L + Layout<lanes>::rows - 1) / Layout<lanes>::rows;
  const int64_t at = int64_t{blockIdx.x} % chunks * Layout<lanes>::rows + threadIdx.x / lanes;
  return {at, static_cast<int>(threadIdx.x) % lanes, at < p.L, int64_t{blockIdx.x} / chunks};
}
template <class P>
__device__ __forceinline__ Head<P> head_of(const P& p, const Place& w) {
  return {w.head / p.heads, w.head % p.heads};
}

// y and lse of a query. Keys are taken eight at a time; where a larger score than before comes,
// what was summed up is scaled down (Milakov & Gimelshein 2018).
constexpr int step = 8;
template <int lanes, class T>
__global__ void __launch_bounds__(threads) fwd(AttentionFwd p) {
  constexpr int tile = Layout<lanes>::tile, of_token = Layout<lanes>::width / 4;
  static_assert(tile % step == 0);
  __shared__ float4 keys[tile_floats / 4], values[tile_floats / 4];
  const Place w = place<lanes>(p);
  const auto head = head_of(p, w);
  const int64_t W = head.width(p), row = head.qkv_row(p);
  const int d = static_cast<int>(p.d);
  const T* q = static_cast<const T*>(p.qkv) + head.qkv(p);
  const float scale = static_cast<float>(p.scale);
  const Row mine = load_row<lanes>(w.real ? q + w.at * row : nullptr, w.lane, d);
  Row sum;
  clear(sum);
  float most = -INFINITY, total = 0;
  for (int64_t first = 0; first < p.L; first += tile) {
    __syncthreads();  // the tile before was read by all
    load_tile<lanes>(q + W, row, first, p.L, d, keys);
    load_tile<lanes>(q + 2 * W, row, first, p.L, d, values);
    __syncthreads();
    const int count = static_cast<int>(p.L - first < tile ? p.L - first : tile);
    for (int j = 0; j < count; j += step) {
      float s[step], larger = most;
#pragma unroll
      for (int k = 0; k < step; ++k) {
        s[k] = scale * row_dot<lanes>(mine, keys + (j + k) * of_token + w.lane);
        if (j + k >= count) s[k] = -INFINITY;
        larger = fmaxf(larger, s[k]);
      }
      const float down = expf(most - larger);  // 0 at the first step
      most = larger;
      total *= down;
#pragma unroll
      for (int k = 0; k < quads; ++k) {
        sum.v[k].x *= down;
        sum.v[k].y *= down;
        sum.v[k].z *= down;
        sum.v[k].w *= down;
      }
#pragma unroll
      for (int k = 0; k < step; ++k) {
        const float e = expf(s[k] - most);
        total += e;
        row_add<lanes>(sum, e, values + (j + k) * of_token + w.lane);
      }
    }
  }
  if (!w.real) return;
#pragma unroll
  for (int k = 0; k < quads; ++k) {
    sum.v[k].x /= total;
    sum.v[k].y /= total;
    sum.v[k].z /= total;
    sum.v[k].w /= total;
  }
  store_row<lanes>(static_cast<T*>(p.y) + head.y(p) + w.at * W, w.lane, d, false, sum);
  if (p.lse && w.lane == 0) static_cast<float*>(p.lse)[head.lse(p) + w.at] = most + logf(total);
}

// dq of a query, and its delta for the other kernel. delta (B, heads, L)
template <int lanes, class T>
__global__ void __launch_bounds__(threads) bwd_queries(AttentionBwd p, float* delta) {
  constexpr int tile = Layout<lanes>::tile, of_token = Layout<lanes>::width / 4;
  __shared__ float4 keys[tile_floats / 4], values[tile_floats / 4];
  const Place w = place<lanes>(p);
  const auto head = head_of(p, w);
  const int64_t W = head.width(p), row = head.qkv_row(p), lse_at = head.lse(p) + w.at;
  const int d = static_cast<int>(p.d);
  const T* q = static_cast<const T*>(p.qkv) + head.qkv(p);
  const int64_t y_at = head.y(p) + w.at * W;
  const float scale = static_cast<float>(p.scale);
  const Row mine = load_row<lanes>(w.real ? q + w.at * row : nullptr, w.lane, d);
  const Row dy = load_row<lanes>(w.real ? static_cast<const T*>(p.dy) + y_at : nullptr, w.lane, d);
  float own = 0;
  {
    const Row y = load_row<lanes>(w.real ? static_cast<const T*>(p.y) + y_at : nullptr, w.lane, d);
#pragma unroll
    for (int k = 0; k < quads; ++k) own = dot(dy.v[k], y.v[k], own);
  }
  own = row_sum<lanes>(own);
  if (w.real && w.lane == 0) delta[lse_at] = own;
  const float lse = w.real ? static_cast<const float*>(p.lse)[lse_at] : 0.0f;
  Row dq;
  clear(dq);
  for (int64_t first = 0; first < p.L; first += tile) {
    __syncthreads();
    load_tile<lanes>(q + W, row, first, p.L, d, keys);
    load_tile<lanes>(q + 2 * W, row, first, p.L, d, values);
    __syncthreads();
    const int count = static_cast<int>(p.L - first < tile ? p.L - first : tile);
#pragma unroll 2
    for (int j = 0; j < count; ++j) {
      const float4* key = keys + j * of_token + w.lane;
      const float prob = expf(scale * row_dot<lanes>(mine, key) - lse);
      const float dp = row_dot<lanes>(dy, values + j * of_token + w.lane);
      row_add<lanes>(dq, scale * prob * (dp - own), key);
    }
  }
  if (!w.real) return;
  T* to = static_cast<T*>(p.dqkv) + head.qkv(p) + w.at * row;
  store_row<lanes>(to, w.lane, d, p.accumulate, dq);
}

// dk and dv of a key; the tiles are of queries and of dy.
template <int lanes, class T>
__global__ void __launch_bounds__(threads) bwd_keys(AttentionBwd p, const float* delta) {
  constexpr int tile = Layout<lanes>::tile, of_token = Layout<lanes>::width / 4;
  __shared__ float4 queries[tile_floats / 4], dys[tile_floats / 4];
  __shared__ float lses[tile], deltas[tile];
  const Place w = place<lanes>(p);
  const auto head = head_of(p, w);
  const int64_t W = head.width(p), row = head.qkv_row(p), lse_at = head.lse(p);
  const int d = static_cast<int>(p.d);
  const T* q = static_cast<const T*>(p.qkv) + head.qkv(p);
  const float scale = static_cast<float>(p.scale);
  const Row key = load_row<lanes>(w.real ? q + W + w.at * row : nullptr, w.lane, d);
  const Row value = load_row<lanes>(w.real ? q + 2 * W + w.at * row : nullptr, w.lane, d);
  Row dk, dv;
  clear(dk);
  clear(dv);
  for (int64_t first = 0; first < p.L; first += tile) {
    __syncthreads();
    load_tile<lanes>(q, row, first, p.L, d, queries);
    load_tile<lanes>(static_cast<const T*>(p.dy) + head.y(p), W, first, p.L, d, dys);
    const int count = static_cast<int>(p.L - first < tile ? p.L - first : tile);
    for (int i = threadIdx.x; i < count; i += threads) {
      lses[i] = static_cast<const float*>(p.lse)[lse_at + first + i];
      deltas[i] = delta[lse_at + first + i];
    }
    __syncthreads();
    for (int i = 0; i < count; ++i) {
      const float4* query = queries + i * of_token + w.lane;
      const float4* dy = dys + i * of_token + w.lane;
      const float prob = expf(scale * row_dot<lanes>(key, query) - lses[i]);
      const float dp = row_dot<lanes>(value, dy);
      row_add<lanes>(dv, prob, dy);
      row_add<lanes>(dk, scale * prob * (dp - deltas[i]), query);
    }
  }
  if (!w.real) return;
  T* to = static_cast<T*>(p.dqkv) + head.qkv(p) + w.at * row;
  store_row<lanes>(to + W, w.lane, d, p.accumulate, dk);
  store_row<lanes>(to + 2 * W, w.lane, d, p.accumulate, dv);
}

// Calls f with the type and the lanes for a row of d numbers.
template <class F>
void with_lanes(DType t, int64_t d, F&& f) {
  dispatch_gpu(t, [&]<class T>() {
    if (d <= Layout<1>::width)
      f.template operator()<1, T>();
    else if (d <= Layout<2>::width)
      f.template operator()<2, T>();
    else if (d <= Layout<4>::width)
      f.template operator()<4, T>();
    else
      f.template operator()<8, T>();
  });
}
template <int lanes, class P>
unsigned blocks_of(const P& p) {
  const int64_t rows = Layout<lanes>::rows;
  return static_cast<unsigned>((p.L + rows - 1) / rows * p.B * p.heads);
}
// A block for every 16 rows at least, and no more blocks than a grid can have.
template <class P>
bool fits(const P& p) {
  return p.d <= Layout<8>::width && p.L * p.heads * p.B < (int64_t{1} << 31);
}

}  // namespace

bool attention_fwd_key_tiles_supports(const AttentionFwd& p, const Device&) {
  return fits(p);
}
void attention_fwd_key_tiles(const AttentionFwd& p, const Launch& l) {
  with_lanes(p.dtype, p.d, [&]<int lanes, class T>() {
    fwd<lanes, T><<<blocks_of<lanes>(p), threads, 0, l.stream>>>(p);
  });
}
bool attention_bwd_key_tiles_supports(const AttentionBwd& p, const Device&) {
  return fits(p);
}
size_t attention_bwd_key_tiles_scratch(const AttentionBwd& p) {
  return p.B * p.heads * p.L * sizeof(float);
}
void attention_bwd_key_tiles(const AttentionBwd& p, const Launch& l) {
  auto delta = static_cast<float*>(l.scratch);
  with_lanes(p.dtype, p.d, [&]<int lanes, class T>() {
    const unsigned blocks = blocks_of<lanes>(p);
    bwd_queries<lanes, T><<<blocks, threads, 0, l.stream>>>(p, delta);
    bwd_keys<lanes, T><<<blocks, threads, 0, l.stream>>>(p, delta);
  });
}

}  // namespace krait
