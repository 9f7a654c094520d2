// GPU row `pipelined`, backward. One thread owns one channel of one image and side, as in
// thread_per_channel; what is different:
//   - the inputs of the next tile of 8 tokens arrive in shared memory during the current tile;
//   - the states made again wait in shared memory as pairs of bf16, where the products need them;
//   - dB and dC, sums over channels, are products on the tensor cores: for every token a matrix
//     (states x channels) times a vector (channels), dC = h g and dB = l (dt u). The token is the
//     column of the product, so 8 tokens share one accumulator. Where delta is made inside, so is
//     the gradient of dt, in the same way;
//   - all that needs no state (softplus, the gate and its gradient) is made for 4 tokens at a time
//     before their states are walked: their chains run side by side. On the way back only the
//     states' own recurrence is left;
//   - a block works on several images in turn, so fewer parameter gradients are left to add.
// bf16, 16 states. Why it is fast, and what it is bound by: selective_scan.md
#include "kernels/common/cuda.h"
#include "kernels/selective_scan/pipelined.cuh"
#include "kernels/selective_scan/rows.h"

namespace krait {
namespace {

using namespace pipelined;
static_assert(scan_state_every(N) == tile);

constexpr int warps = threads / 32;
constexpr int unroll_forward = 4, unroll_back = 2;
using States = Matrix<32>;  // of a warp's channels, as pairs of bf16

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
  States before[warps];                         // the kept states, before the tile
  uint32_t bc[tile][N];                         // pairs of bf16
};
template <bool project>
struct Warp {
  States after[tile];  // each step
  union {
    struct {
      States l;                    // the adjoint states of one step
      uint16_t dtu[tile][32 + 8];  // dt u; 8 more: 8 tokens of a product meet all banks
    };
    float part[tile][Sums<project>::row];  // the sums of a tile over the warp's channels
  };
};
template <bool project>
struct Shared {
  Stage<project> stages[2];
  float dt[tile][threads + 4];
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
    for (int r = 0; r < 4; ++r) delta[pair + r % 2][first + c + row + r / 2 * 8] = x[r];
  }
}

// One token's matrix (16 states x 32 channels) times the vectors of all 8 tokens, of which its own
// is wanted.
struct Product {
  uint32_t a[2][4];  // 16 channels each
  __device__ __forceinline__ void load(const States& m) {
    const int lane = threadIdx.x % 32;
    const uint4* row = &half_row(m, lane % 8 + lane / 16 * 8, lane / 8 % 2);
#pragma unroll
    for (int i = 0; i < 2; ++i) load_matrices<true>(a[i], row[32 * i]);
  }
  // Into the token's column of c (16 x 8): `mine` says whether the lane has it, `odd` which of the
  // lane's two it is.
  __device__ __forceinline__ void add_to(float (&c)[4], const uint32_t (&b)[4], int odd,
                                         bool mine) const {
    float x[4] = {0, 0, 0, 0};
    multiply_add(x, a[0][0], a[0][1], a[0][2], a[0][3], b[0], b[1]);
    multiply_add(x, a[1][0], a[1][1], a[1][2], a[1][3], b[2], b[3]);
    if (mine) c[odd] = x[odd], c[2 + odd] = x[2 + odd];
  }
};

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

  float A[N], l[N], dA[N];  // l: the adjoint state, carried from the step after
  load_rates(A, s.A_log, e, active);
#pragma unroll
  for (int n = 0; n < N; ++n) l[n] = dA[n] = 0;
  const float D = s.D && active ? static_cast<const float*>(s.D)[e] : 0.0f;
  const float bias = s.bias && active ? static_cast<const float*>(s.bias)[e] * log2e : 0.0f;
  float dD = 0, dbias = 0;
  auto& mine = shared.warp[warp];

  auto store = [&](States& to, const uint32_t(&v)[N / 2]) {
    half_row(to, lane, 0) = {v[0], v[1], v[2], v[3]};
    half_row(to, lane, 1) = {v[4], v[5], v[6], v[7]};
  };
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
    async_copy_16(&half_row(to.before[warp], lane, 0), state, active);
    async_copy_16(&half_row(to.before[warp], lane, 1), state + N / 2, active);
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
    load_dt_weights(shared.dt_weights, p, s, first_channel, threadIdx.x, threads);
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
      const uint32_t* pairs = reinterpret_cast<const uint32_t*>(&shared.dt[copy_j][copy_column]);
      uint32_t du[4], dd[4];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const uint4 v = reinterpret_cast<const uint4*>(pairs)[i];
        du[2 * i] = __byte_perm(v.x, v.y, 0x5410), du[2 * i + 1] = __byte_perm(v.z, v.w, 0x5410);
        dd[2 * i] = __byte_perm(v.x, v.y, 0x7632), dd[2 * i + 1] = __byte_perm(v.z, v.w, 0x7632);
      }
      reinterpret_cast<uint4*>(static_cast<bf16*>(s.du) + at)[0] = {du[0], du[1], du[2], du[3]};
      reinterpret_cast<uint4*>(static_cast<bf16*>(s.ddelta) + at)[0] = {dd[0], dd[1], dd[2], dd[3]};
      if (with_dz)
        write(p.dz, int64_t{row} * static_cast<int>(p.dz_row) + copy_e,
              from.sum[copy_j][copy_column]);
    }
    if (copy_lane < sums / 4) {
      float4 total = {0, 0, 0, 0};
#pragma unroll
      for (int w = 0; w < warps; ++w) {
        const float4 v =
            *reinterpret_cast<const float4*>(&shared.warp[w].part[copy_j][4 * copy_lane]);
        total.x += v.x, total.y += v.y, total.z += v.z, total.w += v.w;
      }
      *reinterpret_cast<float4*>(bc_scratch + int64_t{row} * sums + 4 * copy_lane) = total;
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
    const auto [image, start] = at;
    if (start + tile >= L) {
      asm volatile("");  // a branch, not 16 selections
#pragma unroll
      for (int n = 0; n < N; ++n) l[n] = 0;
    }
    float dB[4] = {0, 0, 0, 0}, dC[4] = {0, 0, 0, 0};
    // Behind the last token everything copied is zero, so l stays zero there.

    if constexpr (project) {
      make_delta(now.dt, shared.dt_weights, warp * 32, shared.dt);
      __syncwarp();
    }
    {  // the states again
      const uint4 a = half_row(now.before[warp], lane, 0), b = half_row(now.before[warp], lane, 1);
      const uint32_t pairs[N / 2] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
      float h[N];
#pragma unroll
      for (int n = 0; n < N; ++n) h[n] = n % 2 ? second_of(pairs[n / 2]) : first_of(pairs[n / 2]);
#pragma unroll 1
      for (int j0 = 0; j0 < tile; j0 += unroll_forward) {
        // What needs no state comes first, so that the tokens' chains run side by side.
        constexpr int U = unroll_forward;
        float dts[U], dtus[U], zs[U], dys[U], sums_[U];
#pragma unroll
        for (int i = 0; i < U; ++i) {
          const int j = j0 + i;
          dts[i] = project ? shared.dt[j][column] : first_of(now.delta[j][column]);
          dtus[i] = first_of(now.u[j][column]);
          zs[i] = first_of(now.z[j][column]), dys[i] = first_of(now.dy[j][column]);
        }
        if (with_dz) {
#pragma unroll
          for (int i = 0; i < U; ++i) sums_[i] = first_of(now.sum[j0 + i][column]);
#pragma unroll
          for (int i = 0; i < U; ++i) {
            const float q = sigmoid(zs[i]), dy = dys[i] * scale;
            now.sum[j0 + i][column] = bf16(dy * sums_[i] * q * fmaf(zs[i], 1.0f - q, 1.0f)).bits;
            dys[i] = dy * zs[i] * q;
          }
        } else {
#pragma unroll
          for (int i = 0; i < U; ++i) dys[i] = dys[i] * scale * zs[i] * sigmoid(zs[i]);
        }
#pragma unroll
        for (int i = 0; i < U; ++i) {
          dts[i] = softplus_log2(fmaf(dts[i], log2e, bias));
          dtus[i] = dts[i] * (ln2 * dtus[i]);
        }
#pragma unroll
        for (int i = 0; i < U; ++i) {
          const int j = j0 + i;
          shared.dt[j][column] = dts[i];
          mine.dtu[j][lane] = bf16(dtus[i]).bits;
          // g rounded to bf16, and its lower half: together all of it.
          const uint32_t bits = __float_as_uint(dys[i]);
          now.dy[j][column] = static_cast<uint16_t>((bits + 0x8000u) >> 16);
          now.z[j][column] = static_cast<uint16_t>(bits);
        }
#pragma unroll
        for (int j1 = 0; j1 < unroll_forward; ++j1) {
          const int j = j0 + j1;
          const float dt = dts[j1], dtu = dtus[j1];
          const float4* B = reinterpret_cast<const float4*>(shared.bc[j]);
          uint32_t after[N / 2];
#pragma unroll
          for (int n = 0; n < N; n += 4) {
            const float4 v = B[n / 4];
            h[n] = fmaf(fast_exp2(dt * A[n]), h[n], dtu * v.x);
            h[n + 1] = fmaf(fast_exp2(dt * A[n + 1]), h[n + 1], dtu * v.y);
            h[n + 2] = fmaf(fast_exp2(dt * A[n + 2]), h[n + 2], dtu * v.z);
            h[n + 3] = fmaf(fast_exp2(dt * A[n + 3]), h[n + 3], dtu * v.w);
            after[n / 2] = bf16_pair(h[n], h[n + 1]);
            after[n / 2 + 1] = bf16_pair(h[n + 2], h[n + 3]);
          }
          store(mine.after[j], after);
        }
      }
    }

    __syncwarp();
    uint32_t g_of[4], dtu_of[4];  // of token lane / 4, channels lane % 4 * 2 (+ 1) + 8 i
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      g_of[i] = word(now.dy[lane / 4][warp * 32 + lane % 4 * 2 + 8 * i]);
      dtu_of[i] = word(mine.dtu[lane / 4][lane % 4 * 2 + 8 * i]);
    }
    __syncwarp();
#pragma unroll 1
    for (int j0 = tile - unroll_back; j0 >= 0; j0 -= unroll_back)
#pragma unroll
      for (int j1 = unroll_back - 1; j1 >= 0; --j1) {
        const int j = j0 + j1;
        const float u = first_of(now.u[j][column]),
                    g = __uint_as_float((uint32_t{now.dy[j][column]} << 16) +
                                        static_cast<int16_t>(now.z[j][column]));
        const float dt = shared.dt[j][column];
        const float4* B = reinterpret_cast<const float4*>(shared.bc[j]);
        const States& before = j > 0 ? mine.after[j - 1] : now.before[warp];
        const uint4 a = half_row(before, lane, 0), b = half_row(before, lane, 1);
        const uint32_t h[N / 2] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
        float s1 = 0, s2 = 0;
        uint32_t l_pairs[N / 2];
#pragma unroll
        for (int n = 0; n < N; n += 4) {
          const float4 Bv = B[n / 4], Cv = B[N / 4 + n / 4];
          const float Bn[4] = {Bv.x, Bv.y, Bv.z, Bv.w}, Cn[4] = {Cv.x, Cv.y, Cv.z, Cv.w};
          float ln[4];
#pragma unroll
          for (int m = 0; m < 4; ++m) {
            const uint32_t pair = h[(n + m) / 2];
            const float decay = fast_exp2(dt * A[n + m]);
            ln[m] = fmaf(g, Cn[m], l[n + m]);
            l[n + m] = ln[m] * decay;
            const float lc = l[n + m] * (m % 2 ? second_of(pair) : first_of(pair));
            s1 = fmaf(ln[m], Bn[m], s1);
            s2 = fmaf(lc, A[n + m], s2);
            dA[n + m] = fmaf(lc, dt, dA[n + m]);
          }
          l_pairs[n / 2] = bf16_pair(ln[0], ln[1]), l_pairs[n / 2 + 1] = bf16_pair(ln[2], ln[3]);
        }
        store(mine.l, l_pairs);
        __syncwarp();
        const bool my_token = lane % 4 == j / 2;
        Product of_h, of_l;
        of_h.load(mine.after[j]);
        of_l.load(mine.l);
        __syncwarp();
        // The slope of softplus, sigmoid(x), is 1 - exp(-softplus(x)).
        const float ddelta = fmaf(u, s1, s2) * (1.0f - fast_exp2(-dt));
        dD = fmaf(g, u, dD);
        dbias += ddelta;
        // The results take the places of what they were made from.
        // In dt's place.
        *reinterpret_cast<uint32_t*>(&shared.dt[j][column]) =
            bf16_pair(fmaf(dt * ln2, s1, D * g), ddelta);
        of_h.add_to(dC, g_of, j1 % 2, my_token);
        of_l.add_to(dB, dtu_of, j1 % 2, my_token);
      }
    float ddt[4] = {0, 0, 0, 0};
    if constexpr (project) {  // ddt (R x tokens) = W_dt^T (R x channels) ddelta (channels x tokens)
      __syncwarp();
#pragma unroll
      for (int i = 0; i < 2; ++i) {  // 16 channels each
        const int c = warp * 32 + i * 16;
        uint32_t a[4];
        load_matrices<true>(
            a, half_row(shared.dt_weights, c + lane % 8 + lane / 16 * 8, lane / 8 % 2));
        const float* from = &shared.dt[lane / 4][c + lane % 4 * 2];
        auto pair = [&](int at) {
          const uint2 v = *reinterpret_cast<const uint2*>(from + at);
          return __byte_perm(v.x, v.y, 0x7632);
        };
        multiply_add(ddt, a[0], a[1], a[2], a[3], pair(0), pair(8));
      }
    }
#pragma unroll
    for (int r = 0; r < 4; ++r) {  // rows lane / 4 (+ 8), columns lane % 4 * 2 (+ 1)
      const int n = lane / 4 + r / 2 * 8, t = lane % 4 * 2 + r % 2;
      mine.part[t][n] = dB[r];
      mine.part[t][N + n] = dC[r];
      if constexpr (project) mine.part[t][2 * N + n] = ddt[r];
    }
    last = at, at = next_of(at);
  }
  __syncthreads();
  flush(shared.stages[(count - 1) % 2], last);

  if (!active) return;
  float* to = scratch + where.params_at(p.sides, k, group);
#pragma unroll
  for (int n = 0; n < N; ++n) to[int64_t{e} * N + n] = dA[n] * ln2 * A[n];  // dA_log = dA A
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
