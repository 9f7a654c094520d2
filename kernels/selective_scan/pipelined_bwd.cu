// GPU row `pipelined`, backward. One thread owns one channel of one image and side, as in
// thread_per_channel; what is different:
//   - the inputs of the next tile of 8 tokens arrive in shared memory during the current tile;
//   - a tile is walked for four of the 16 states at a time, forward and back: so few that the
//     states and decays of all 8 tokens stay in registers, and no exponential is taken twice;
//   - all that needs no state (softplus, the gate and its gradient) is made before, once for the
//     tile, so that the tokens' chains run side by side;
//   - dB and dC, sums over channels, are products on the tensor cores: for every token a matrix
//     (states x channels) times a vector (channels), dC = h g and dB = l (dt u). Where delta is
//     made inside, so is the gradient of dt;
//   - a block works on several images in turn, so fewer parameter gradients are left to add.
// bf16, 16 states. Why it is fast, and what it is bound by: selective_scan.md
#include "kernels/common/cuda.h"
#include "kernels/common/device/wide_store.cuh"
#include "kernels/selective_scan/pipelined.cuh"
#include "kernels/selective_scan/rows.h"

namespace krait {
namespace {

using namespace pipelined;
static_assert(scan_state_every(N) == tile);

constexpr int warps = threads / 32;
constexpr int rounds = N / 4;  // four states at a time

template <bool project>
struct Sums {  // over channels, of a token: B, C, and with the projection dt
  static constexpr int count = 2 * N + (project ? max_R : 0);
  static constexpr int row = count + 4;  // 4 more: the lanes of a warp then meet 32 banks
};
template <bool project>
struct Stage {  // a tile of the inputs; a column is a thread's channel; all in bf16
  uint16_t u[tile][threads], z[tile][threads];
  uint16_t sum[tile][threads];                  // the first side's only
  uint16_t dy[tile][threads + 8];               // 8 more: 8 tokens of a product meet all banks
  uint16_t delta[tile][project ? 1 : threads];  // given ...
  uint16_t dt[project ? tile : 1][max_R];       // ... or made from this
  uint4 before[warps][2][32];                   // the kept states, before the tile
  uint32_t bc[tile][N];                         // pairs of bf16
};
struct Round {  // what a lane keeps of its four states from tile to tile
  float4 A[32], l[32], dA[32];
};
template <bool project>
struct Warp {
  Round of[rounds];
  union {
    uint4 steps[tile / 2][32];  // four states, then adjoint states, of two tokens, in bf16
    float delta[tile][32 + 4];  // as it is made
  };
  uint16_t dtu[tile][32 + 8];            // dt u; 8 more: 8 tokens of a product meet all banks
  float part[tile][Sums<project>::row];  // the sums of a tile over the warp's channels
};
template <bool project>
struct Shared {
  Stage<project> stages[2];
  float bc[tile][2 * N];
  Warp<project> warp[warps];
  Matrix<project ? threads : 1> dt_weights;
};

// delta of a tile and of a warp's 32 channels, from row `first` of w on. (The forward pass has
// tokens as the rows of the product, and pairs of channels as results: it reads them as pairs.)
template <int rows, int columns>
__device__ __forceinline__ void make_delta(const uint16_t (&dt)[tile][max_R], const Matrix<rows>& w,
                                           int first, float (&delta)[tile][columns]) {
  const int lane = threadIdx.x % 32, row = lane / 4, pair = lane % 4 * 2;
  const uint32_t b0 = word(dt[row][pair]), b1 = word(dt[row][pair + 8]);  // of token `row`
  const uint4* from = &half_row(w, first + lane % 16, lane / 16);
#pragma unroll
  for (int c = 0; c < 32; c += 16) {
    uint32_t a[4];
    load_matrices<false>(a, from[2 * c]);
    float x[4] = {0, 0, 0, 0};
    multiply_add(x, a[0], a[1], a[2], a[3], b0, b1);
#pragma unroll
    for (int r = 0; r < 4; ++r) delta[pair + r % 2][c + row + r / 2 * 8] = x[r];
  }
}

// What is summed over a warp's channels: of each token its four numbers a channel times the token's
// vector, of which a lane has v, pairs of token lane / 4 and channels 8 i + lane % 4 * 2 and the
// next. Rows of a product are the numbers of four tokens, columns are the vectors of all 8, so one
// in 8 of the results is wanted: the lane's own is that of token lane % 4 * 2 + lane / 16 and
// number lane / 4 % 4.
__device__ __forceinline__ float sum_of_products(const uint4 (&steps)[tile / 2][32],
                                                 const uint32_t (&v)[4]) {
  const int lane = threadIdx.x % 32;
  const uint4* row = &steps[lane / 8 % 2][lane / 16 * 8 + lane % 8];
  float x[2][4] = {};
#pragma unroll
  for (int four = 0; four < 2; ++four)
#pragma unroll
    for (int i = 0; i < 2; ++i) {  // 16 channels
      uint32_t a[4];
      load_matrices<true>(a, row[four * 64 + i * 16]);
      multiply_add(x[four], a[0], a[1], a[2], a[3], v[2 * i], v[2 * i + 1]);
    }
  float y[4];
#pragma unroll
  for (int r = 0; r < 4; ++r) y[r] = lane & 2 ? x[1][r] : x[0][r];
  const float first = lane & 1 ? y[2] : y[0], second = lane & 1 ? y[3] : y[1];
  return lane & 16 ? second : first;
}

// Scratch, in floats: the sums of each block of channels (sides, blocks_e, B, L, sums), then the
// gradients of A_log, D and bias of each group of images (sides, groups, E (N + 2)).
struct Scratch {
  int blocks_e, images, groups;  // images: of one block
  int sums;                      // of a token
  int64_t bc, params;
  __host__ __device__ explicit Scratch(const ScanBwd& p) {
    blocks_e = (p.E + threads - 1) / threads;
    // Enough blocks to fill a large GPU several times, but no more.
    images = 1;
    while (images < 8 && p.B / (2 * images) * blocks_e * p.sides >= 1536) images *= 2;
    groups = static_cast<int>((p.B + images - 1) / images);
    sums = p.R ? Sums<true>::count : Sums<false>::count;
    bc = p.B * p.L * sums;
    params = int64_t{p.E} * (N + 2);
  }
  __host__ __device__ int64_t bc_at(int side, int block) const {
    return (side * blocks_e + block) * bc;
  }
  __host__ __device__ int64_t params_at(int sides, int side, int64_t group) const {
    return sides * blocks_e * bc + (side * groups + group) * params;
  }
};

constexpr int blocks_per_sm = 3;  // as 168 registers a thread and 75 KB of shared memory allow
static_assert(blocks_per_sm * (sizeof(Shared<true>) + 1024) <= 228 * 1024);
static_assert(blocks_per_sm * (sizeof(Shared<false>) + 1024) <= 228 * 1024);
template <bool project>
__global__ __launch_bounds__(threads, blocks_per_sm) void scan_bwd(ScanBwd p, float* scratch,
                                                                   float scale) {
  constexpr int sums = Sums<project>::count;
  extern __shared__ __align__(16) char memory[];
  auto& shared = *reinterpret_cast<Shared<project>*>(memory);
  const Scratch where(p);
  const int k = blockIdx.y;  // the side
  const auto& s = p.side[k];
  const int group = blockIdx.x / where.blocks_e, block_e = blockIdx.x % where.blocks_e;
  const int first_channel = block_e * threads, column = threadIdx.x, e = first_channel + column;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const bool active = e < p.E;
  const int L = static_cast<int>(p.L), tiles = (L + tile - 1) / tile;
  const int first_image = group * where.images;
  const int images = p.B - first_image < where.images ? int(p.B - first_image) : where.images;
  const bool with_dz = p.dz && k == 0;

  const float D = s.D && active ? static_cast<const float*>(s.D)[e] : 0.0f;
  const float bias = s.bias && active ? static_cast<const float*>(s.bias)[e] * log2e : 0.0f;
  float dD = 0, dbias = 0;
  auto& mine = shared.warp[warp];
#pragma unroll 1
  for (int round = 0; round < rounds; ++round) {
    float4 A = {0, 0, 0, 0};
    if (active) {
      const float4 v = static_cast<const float4*>(s.A_log)[e * rounds + round];
      A = {-__expf(v.x), -__expf(v.y), -__expf(v.z), -__expf(v.w)};
    }
    mine.of[round].A[lane] = A, mine.of[round].dA[lane] = {0, 0, 0, 0};
  }

  auto token_at = [&](int step) { return s.reverse ? L - 1 - step : step; };

  // All tiles of all images, each image's from its last.
  struct At {
    int image;
    int start;
  };
  auto next_of = [&](At at) {
    return at.start > 0 ? At{at.image, at.start - tile} : At{at.image + 1, (tiles - 1) * tile};
  };

  // A thread copies 8 channels of one token, the state of its own, and pairs of B, C and dt.
  const int copy_j = threadIdx.x / (threads / 8), copy_lane = threadIdx.x % (threads / 8);
  const int copy_column = copy_lane * 8, copy_e = first_channel + copy_column;
  auto request = [&](Stage<project>& to, At tile_at) {
    const auto [image, start] = tile_at;
    const int step = start + copy_j;
    const bool within = step < L, wanted = within && copy_e < p.E;
    const int row = image * L + (within ? token_at(step) : 0);
    const int64_t at = int64_t{row} * p.E + copy_e;
    async_copy_16(&to.u[copy_j][copy_column], static_cast<const bf16*>(s.u) + at, wanted);
    if constexpr (!project)
      async_copy_16(&to.delta[copy_j][copy_column], static_cast<const bf16*>(s.delta) + at, wanted);
    async_copy_16(&to.dy[copy_j][copy_column], static_cast<const bf16*>(p.dy) + at, wanted);
    async_copy_16(&to.z[copy_j][copy_column],
                  static_cast<const bf16*>(p.z) + int64_t{row} * static_cast<int>(p.z_row) + copy_e,
                  wanted);
    if (with_dz)
      async_copy_16(&to.sum[copy_j][copy_column], static_cast<const bf16*>(p.sum) + at, wanted);
    const bf16* state = static_cast<const bf16*>(s.states) +
                        (int64_t{image * tiles + start / tile} * p.E + (active ? e : 0)) * N;
    async_copy_16(&to.before[warp][0][lane], state, active);
    async_copy_16(&to.before[warp][1][lane], state + N / 2, active);
    const bool is_b = copy_lane < N / 2;
    const bf16* pair_at = static_cast<const bf16*>(is_b ? s.Bm : s.Cm) + 2 * (copy_lane % (N / 2)) +
                          int64_t{row} * static_cast<int>(is_b ? s.b_row : s.c_row);
    async_copy_4(&to.bc[copy_j][copy_lane], pair_at, within);
    if constexpr (project)
      if (copy_lane < 8) {
        const bool has = within && 2 * copy_lane < p.R;
        async_copy_4(&to.dt[copy_j][2 * copy_lane],
                     static_cast<const bf16*>(s.dt) + int64_t{row} * static_cast<int>(s.dt_row) +
                         (has ? 2 * copy_lane : 0),
                     has);
      }
  };
  if constexpr (project)
    copy_dt_weights<threads, threads>(shared.dt_weights, p, s, first_channel, threadIdx.x);
  // Writes the results of a tile, and adds what the warps summed, in order.
  float* const bc_scratch = scratch + where.bc_at(k, block_e);
  auto flush = [&](const Stage<project>& from, At tile_at) {
    const auto [image, start] = tile_at;
    if (start + copy_j >= L) return;
    const int row = image * L + token_at(start + copy_j);
    if (copy_e < p.E) {
      const int64_t at = int64_t{row} * p.E + copy_e;
      auto write = [&](void* to, int64_t at, const uint16_t& v) {
        *reinterpret_cast<uint4*>(static_cast<bf16*>(to) + at) =
            *reinterpret_cast<const uint4*>(&v);
      };
      write(s.du, at, from.u[copy_j][copy_column]);
      write(s.ddelta, at, from.dy[copy_j][copy_column]);
      if (with_dz)
        write(p.dz, int64_t{row} * static_cast<int>(p.dz_row) + copy_e,
              from.sum[copy_j][copy_column]);
    }
    if (copy_lane < sums / 4) {
      float x = 0, y = 0, z = 0, w = 0;
#pragma unroll
      for (int i = 0; i < warps; ++i) {
        const float4 v =
            *reinterpret_cast<const float4*>(&shared.warp[i].part[copy_j][4 * copy_lane]);
        x += v.x, y += v.y, z += v.z, w += v.w;
      }
      store_16(bc_scratch + int64_t{row} * sums + 4 * copy_lane, float4{x, y, z, w});
    }
  };

  At at = {first_image, (tiles - 1) * tile}, last = at;
  const int count = images * tiles;
  request(shared.stages[0], at);
  for (int i = 0; i < count; ++i) {
    Stage<project>& now = shared.stages[i % 2];
    Stage<project>& next = shared.stages[(i + 1) % 2];
    wait_for_async_copies();
    __syncthreads();
    if (i > 0) flush(next, last);
    const uint32_t bc = now.bc[copy_j][copy_lane];
    *reinterpret_cast<float2*>(&shared.bc[copy_j][2 * copy_lane]) = {first_of(bc), second_of(bc)};
    __syncthreads();
    if (i + 1 < count) request(next, next_of(at));
    const bool first_tile = at.start + tile >= L;  // of an image, from its end
    // Behind the last token everything copied is zero, so the adjoint state stays zero there.

    if constexpr (project) {
      make_delta(now.dt, shared.dt_weights, warp * 32, mine.delta);
      __syncwarp();
    }
    // What needs no state, for four tokens at once.
    float dt[tile], dtu[tile], g[tile];
#pragma unroll
    for (int j0 = 0; j0 < tile; j0 += 4) {
      float u[4], z[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int j = j0 + i;
        dt[j] = project ? mine.delta[j][lane] : first_of(now.delta[j][column]);
        u[i] = first_of(now.u[j][column]);
        z[i] = first_of(now.z[j][column]), g[j] = first_of(now.dy[j][column]) * scale;
      }
      if (with_dz) {
        float sum[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) sum[i] = first_of(now.sum[j0 + i][column]);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float w = sigmoid(z[i]);
          now.sum[j0 + i][column] = bf16(g[j0 + i] * sum[i] * w * fmaf(z[i], 1.0f - w, 1.0f)).bits;
          g[j0 + i] *= z[i] * w;
        }
      } else {
#pragma unroll
        for (int i = 0; i < 4; ++i) g[j0 + i] *= z[i] * sigmoid(z[i]);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int j = j0 + i;
        dt[j] = softplus_log2(fmaf(dt[j], log2e, bias));
        dtu[j] = dt[j] * (ln2 * u[i]);
        dD = fmaf(g[j], u[i], dD);
        now.dy[j][column] = bf16(g[j]).bits;
        mine.dtu[j][lane] = bf16(dtu[j]).bits;
      }
    }
    __syncwarp();
    uint32_t g_pairs[4], dtu_pairs[4];  // of token lane / 4, channels 8 i + lane % 4 * 2 (+ 1)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      g_pairs[i] = word(now.dy[lane / 4][warp * 32 + 8 * i + lane % 4 * 2]);
      dtu_pairs[i] = word(mine.dtu[lane / 4][8 * i + lane % 4 * 2]);
    }
    float* const part = &mine.part[lane % 4 * 2 + lane / 16][lane / 4 % 4];

    float s1[tile] = {}, s2[tile] = {};
#pragma unroll 1
    for (int round = 0; round < rounds; ++round) {
      auto& of = mine.of[round];
      const float4 A4 = of.A[lane];
      const float A[4] = {A4.x, A4.y, A4.z, A4.w};
      const uint2 kept =
          reinterpret_cast<const uint2*>(&now.before[warp][round / 2][lane])[round % 2];
      float h[tile + 1][4], decay[tile][4];  // h before the step
      h[0][0] = first_of(kept.x), h[0][1] = second_of(kept.x);
      h[0][2] = first_of(kept.y), h[0][3] = second_of(kept.y);
#pragma unroll
      for (int j = 0; j < tile; ++j) {
        const float4 B4 = *reinterpret_cast<const float4*>(&shared.bc[j][4 * round]);
        const float B[4] = {B4.x, B4.y, B4.z, B4.w};
#pragma unroll
        for (int m = 0; m < 4; ++m) {
          decay[j][m] = fast_exp2(dt[j] * A[m]);
          h[j + 1][m] = fmaf(decay[j][m], h[j][m], dtu[j] * B[m]);
        }
        if (j % 2)
          mine.steps[j / 2][lane] = {bf16_pair(h[j][0], h[j][1]), bf16_pair(h[j][2], h[j][3]),
                                     bf16_pair(h[j + 1][0], h[j + 1][1]),
                                     bf16_pair(h[j + 1][2], h[j + 1][3])};
      }
      __syncwarp();
      part[N + 4 * round] = sum_of_products(mine.steps, g_pairs);
      __syncwarp();

      float l[4] = {0, 0, 0, 0};
      if (!first_tile) {
        const float4 v = of.l[lane];
        l[0] = v.x, l[1] = v.y, l[2] = v.z, l[3] = v.w;
      }
      const float4 dA4 = of.dA[lane];
      float dA[4] = {dA4.x, dA4.y, dA4.z, dA4.w};
      uint32_t pairs[4];
#pragma unroll
      for (int j = tile - 1; j >= 0; --j) {
        const float4 B4 = *reinterpret_cast<const float4*>(&shared.bc[j][4 * round]);
        const float4 C4 = *reinterpret_cast<const float4*>(&shared.bc[j][N + 4 * round]);
        const float B[4] = {B4.x, B4.y, B4.z, B4.w}, C[4] = {C4.x, C4.y, C4.z, C4.w};
        float ln[4];
#pragma unroll
        for (int m = 0; m < 4; ++m) {
          ln[m] = fmaf(g[j], C[m], l[m]);
          l[m] = decay[j][m] * ln[m];
          const float lc = l[m] * h[j][m];
          s1[j] = fmaf(ln[m], B[m], s1[j]);
          s2[j] = fmaf(lc, A[m], s2[j]);
          dA[m] = fmaf(lc, dt[j], dA[m]);
        }
        pairs[j % 2 * 2] = bf16_pair(ln[0], ln[1]), pairs[j % 2 * 2 + 1] = bf16_pair(ln[2], ln[3]);
        if (j % 2 == 0) mine.steps[j / 2][lane] = {pairs[0], pairs[1], pairs[2], pairs[3]};
      }
      of.l[lane] = {l[0], l[1], l[2], l[3]};
      of.dA[lane] = {dA[0], dA[1], dA[2], dA[3]};
      __syncwarp();
      part[4 * round] = sum_of_products(mine.steps, dtu_pairs);
      __syncwarp();
    }
    // The results take the places of what they were made from.
#pragma unroll
    for (int j = 0; j < tile; ++j) {
      const float u = first_of(now.u[j][column]);
      // The slope of softplus, sigmoid(x), is 1 - exp(-softplus(x)).
      const float ddelta = fmaf(u, s1[j], s2[j]) * (1.0f - fast_exp2(-dt[j]));
      dbias += ddelta;
      now.u[j][column] = bf16(fmaf(dt[j] * ln2, s1[j], D * g[j])).bits;
      now.dy[j][column] = bf16(ddelta).bits;
    }
    if constexpr (project) {  // ddt (R x tokens) = W_dt^T (R x channels) ddelta (channels x tokens)
      __syncwarp();
      float ddt[4] = {0, 0, 0, 0};
#pragma unroll
      for (int i = 0; i < 2; ++i) {  // 16 channels each
        const int from = warp * 32 + i * 16;
        uint32_t a[4];
        load_matrices<true>(
            a, half_row(shared.dt_weights, from + lane % 8 + lane / 16 * 8, lane / 8 % 2));
        const uint16_t* pair = &now.dy[lane / 4][from + lane % 4 * 2];
        multiply_add(ddt, a[0], a[1], a[2], a[3], word(pair[0]), word(pair[8]));
      }
#pragma unroll
      for (int r = 0; r < 4; ++r)  // rows lane / 4 (+ 8), columns lane % 4 * 2 (+ 1)
        mine.part[lane % 4 * 2 + r % 2][2 * N + lane / 4 + r / 2 * 8] = ddt[r];
    }
    last = at, at = next_of(at);
  }
  __syncthreads();
  flush(shared.stages[(count - 1) % 2], last);

  if (!active) return;
  float* to = scratch + where.params_at(p.sides, k, group);
#pragma unroll 1
  for (int round = 0; round < rounds; ++round) {
    const float4 A = mine.of[round].A[lane], dA = mine.of[round].dA[lane];  // dA_log = dA A
    reinterpret_cast<float4*>(to)[e * rounds + round] = {dA.x * ln2 * A.x, dA.y * ln2 * A.y,
                                                         dA.z * ln2 * A.z, dA.w * ln2 * A.w};
  }
  to[int64_t{p.E} * N + e] = dD;
  to[int64_t{p.E} * (N + 1) + e] = dbias;
}

constexpr int adders = 256;  // threads

// Adds the blocks' sums in order; a thread owns four numbers of one token.
__device__ __forceinline__ void add_sums(const ScanBwd& p, const float* scratch, unsigned block,
                                         int k) {
  const auto& s = p.side[k];
  const Scratch where(p);
  const int64_t i = (int64_t{block} * adders + threadIdx.x) * 4;
  if (i >= where.bc) return;
  float total[4] = {0, 0, 0, 0};
  for (int j = 0; j < where.blocks_e; ++j) {
    const float4 v = *reinterpret_cast<const float4*>(scratch + where.bc_at(k, j) + i);
    total[0] += v.x, total[1] += v.y, total[2] += v.z, total[3] += v.w;
  }
  const int64_t row = i / where.sums;
  const int n = static_cast<int>(i % where.sums);
  bf16* to = n < N       ? static_cast<bf16*>(s.dBm) + row * s.db_row + n
             : n < 2 * N ? static_cast<bf16*>(s.dCm) + row * s.dc_row + n - N
                         : static_cast<bf16*>(s.ddt) + row * s.ddt_row + n - 2 * N;
#pragma unroll
  for (int m = 0; m < 4; ++m)
    if (n + m < 2 * N + p.R) to[m] = bf16(total[m]);
}

// Adds the groups' parameter gradients in order: 8 slices of the groups, then the slices.
constexpr int slices = adders / 32;
__device__ __forceinline__ void add_params(const ScanBwd& p, const float* scratch, unsigned block,
                                           int k) {
  __shared__ float part[slices][32];
  const auto& s = p.side[k];
  const Scratch where(p);
  const int slice = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t i = int64_t{block} * 32 + lane;
  float total = 0;
  if (i < where.params)
    for (int group = slice; group < where.groups; group += slices)
      total += scratch[where.params_at(p.sides, k, group) + i];
  part[slice][lane] = total;
  __syncthreads();
  if (slice != 0 || i >= where.params) return;
  total = 0;
  for (int j = 0; j < slices; ++j) total += part[j][lane];
  const int64_t EN = int64_t{p.E} * N;
  auto to = static_cast<float*>(i < EN ? s.dA_log : i < EN + p.E ? s.dD : s.dbias);
  if (to) to[i < EN ? i : (i - EN) % p.E] += total;
}

// Both in one launch. The parameters first: a thread of theirs has more to add.
__global__ void __launch_bounds__(adders)
    add_up(ScanBwd p, const float* scratch, unsigned param_blocks) {
  if (blockIdx.x < param_blocks)
    add_params(p, scratch, blockIdx.x, blockIdx.y);
  else
    add_sums(p, scratch, blockIdx.x - param_blocks, blockIdx.y);
}

}  // namespace

bool scan_bwd_pipelined_supports(const ScanBwd& p, const Device& device) {
  bool fit = fits(p, device) && on_multiples(16, {p.dy, p.dz}) && (!p.dz || p.sum) &&
             p.dz_row % 8 == 0 && !p.accumulate_dz;
  for (int k = 0; k < p.sides; ++k) {
    const auto& s = p.side[k];
    fit = fit && s.du && s.ddelta && (p.R == 0 || s.ddt) && on_multiples(16, {s.du, s.ddelta}) &&
          s.dBm && s.dCm && s.states && !s.accumulate_du && !s.accumulate_ddelta &&
          !s.accumulate_dBm && !s.accumulate_dCm;
  }
  for (int64_t stride : {p.B * p.L, p.z_row, p.dz_row, p.side[0].b_row, p.side[0].c_row,
                         p.side[0].dt_row, p.side[1].b_row, p.side[1].c_row, p.side[1].dt_row})
    fit = fit && stride < int64_t{1} << 31;
  return fit && p.L < 1 << 24;
}

size_t scan_bwd_pipelined_scratch(const ScanBwd& p) {
  const Scratch where(p);
  return where.params_at(p.sides, p.sides, 0) * sizeof(float);
}

void scan_bwd_pipelined(const ScanBwd& p, const Launch& l) {
  if (p.B * p.L == 0) return;
  const Scratch where(p);
  float* scratch = static_cast<float*>(l.scratch);
  const auto sides = static_cast<unsigned>(p.sides);
  auto launch = [&](auto kernel, size_t bytes) {
    KRAIT_CUDA_CHECK(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)));
    kernel<<<dim3(where.blocks_e * where.groups, sides), threads, bytes, l.stream>>>(
        p, scratch, static_cast<float>(p.scale));
  };
  if (p.R)
    launch(scan_bwd<true>, sizeof(Shared<true>));
  else
    launch(scan_bwd<false>, sizeof(Shared<false>));
  const auto sum_blocks = static_cast<unsigned>((where.bc / 4 + adders - 1) / adders);
  const auto param_blocks = static_cast<unsigned>((where.params + 31) / 32);
  add_up<<<dim3(sum_blocks + param_blocks, sides), adders, 0, l.stream>>>(p, scratch, param_blocks);
}

}  // namespace krait
