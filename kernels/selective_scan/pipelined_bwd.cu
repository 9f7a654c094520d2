// GPU row `pipelined`, backward. One thread owns one channel of one image and side, as in
// thread_per_channel; what is different:
//   - the inputs of the next tile of 8 tokens arrive in shared memory during the current tile;
//   - the states made again wait in registers as pairs of bf16, so a thread has room for 8 tokens;
//   - dB and dC, sums over channels, are products on the tensor cores: for every token a matrix
//     (states x channels) times a vector (channels), dC = h g and dB = l (dt u). The token is the
//     column of the product, so 8 tokens share one accumulator;
//   - a block works on several images in turn, so fewer parameter gradients are left to add.
// bf16, 16 states. Why it is fast, and what it is bound by: selective_scan.md
#include "kernels/common/cuda.h"
#include "kernels/selective_scan/pipelined.cuh"
#include "kernels/selective_scan/rows.h"

namespace krait {
namespace {

using namespace pipelined;

constexpr int warps = threads / 32;
constexpr int part_row = 2 * N + 4;  // 4 more: the lanes of a warp then meet 32 banks

template <int K>
struct Stage {  // a tile of the inputs; a column is a thread's channel
  uint16_t u[tile][threads], delta[tile][threads], dy[tile][threads], z[tile][threads];
  uint16_t sum[tile][threads];  // the first side's only
  uint4 states[tile / K][2][threads];
  float bc[tile][2 * N];
};
struct Warp {                // the operands of a warp's products, made new for every token
  uint4 h[32][2], l[32][2];  // (channel, 16 states), halves exchanged for channels 4..7 of each 8
  uint16_t g[32], dtu[32];   // by channel in the order of the product, see product_place
  uint4 zeros[2];
};
template <int K>
struct Shared {
  Stage<K> stages[2];
  Warp warp[warps];
  float parts[2][warps][tile][part_row];  // dB and dC of a tile, summed over a warp's channels
};

// Where lane c's factor stands so that a lane finds its 8 factors in a row: lane q of a quad takes
// channels 2q, 2q + 1, 2q + 8, 2q + 9 and the same 16 higher.
__device__ __forceinline__ int product_place(int c) {
  return c % 8 / 2 * 8 + c / 8 * 2 + c % 2;
}

// Reads four 8 x 8 matrices of bf16, transposed; a lane gives the address of one row.
__device__ __forceinline__ void load_matrices(uint32_t (&a)[4], const void* row) {
  const auto at = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
               : "r"(at)
               : "memory");
}
// c (16 x 8) += a (16 x 16) b (16 x 8)
__device__ __forceinline__ void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Scratch, in floats: dB and dC of each block of channels (sides, blocks_e, B, L, 2N), then the
// gradients of A_log, D and bias of each group of images (sides, groups, E (N + 2)).
struct Scratch {
  int blocks_e, images, groups;  // images: of one block
  int64_t bc, params;
  __host__ __device__ explicit Scratch(const ScanBwd& p) {
    blocks_e = (p.E + threads - 1) / threads;
    // Enough blocks to fill a large GPU several times, but no more.
    images = 1;
    while (images < 8 && p.B / (2 * images) * blocks_e * p.sides >= 1536) images *= 2;
    groups = static_cast<int>((p.B + images - 1) / images);
    bc = p.B * p.L * 2 * N;
    params = int64_t{p.E} * (N + 2);
  }
  __host__ __device__ int64_t bc_at(int side, int block) const {
    return (side * blocks_e + block) * bc;
  }
  __host__ __device__ int64_t params_at(int sides, int side, int64_t group) const {
    return sides * blocks_e * bc + (side * groups + group) * params;
  }
};

template <int K, int blocks_per_sm>
__global__ __launch_bounds__(threads, blocks_per_sm) void scan_bwd(ScanBwd p, float* scratch,
                                                                   float zero) {
  extern __shared__ __align__(16) char memory[];
  Shared<K>& shared = *reinterpret_cast<Shared<K>*>(memory);
  const Scratch where(p);
  const int k = blockIdx.y;  // the side
  const auto& s = p.side[k];
  const int group = blockIdx.x / where.blocks_e, block_e = blockIdx.x % where.blocks_e;
  const int first_channel = block_e * threads, column = threadIdx.x, e = first_channel + column;
  const int lane = threadIdx.x % 32;
  Warp& mine = shared.warp[threadIdx.x / 32];
  const bool active = e < p.E;
  const int L = static_cast<int>(p.L), kept = (L + K - 1) / K, tiles = (L + tile - 1) / tile;
  const int first_image = group * where.images;
  const int images = p.B - first_image < where.images ? int(p.B - first_image) : where.images;
  const bool with_dz = p.dz && k == 0;
  const float scale = static_cast<float>(p.scale);

  float A[N], l[N], dA[N];  // l: the adjoint state, carried from the step after
#pragma unroll
  for (int n = 0; n < N; ++n) {
    A[n] = active ? -__expf(static_cast<const float*>(s.A_log)[e * N + n]) : 0.0f;
    l[n] = dA[n] = 0;
  }
  const float D = s.D && active ? static_cast<const float*>(s.D)[e] : 0.0f;
  const float bias = s.bias && active ? static_cast<const float*>(s.bias)[e] * log2e : 0.0f;
  float dD = 0, dbias = 0;
  if (lane < 2) mine.zeros[lane] = {0, 0, 0, 0};

  auto token_at = [&](int step) { return s.reverse ? L - 1 - step : step; };
  const int step_at = s.reverse ? -p.E : p.E;
  const int step_dz = int(s.reverse ? -p.dz_row : p.dz_row);

  // A thread copies 8 channels of one token, a state or two, and a pair of B or C.
  const int copy_j = threadIdx.x / (threads / 8), copy_lane = threadIdx.x % (threads / 8);
  const int copy_column = copy_lane * 8, copy_e = first_channel + copy_column;
  uint32_t bc;
  auto request = [&](Stage<K>& to, int64_t image, int start) {
    const int step = start + copy_j;
    const bool within = step < L, wanted = within && copy_e < p.E;
    const int64_t row = image * L + (within ? token_at(step) : 0), at = row * p.E + copy_e;
    async_copy_16(&to.u[copy_j][copy_column], static_cast<const bf16*>(s.u) + at, wanted);
    async_copy_16(&to.delta[copy_j][copy_column], static_cast<const bf16*>(s.delta) + at, wanted);
    async_copy_16(&to.dy[copy_j][copy_column], static_cast<const bf16*>(p.dy) + at, wanted);
    async_copy_16(&to.z[copy_j][copy_column],
                  static_cast<const bf16*>(p.z) + row * p.z_row + copy_e, wanted);
    if (with_dz)
      async_copy_16(&to.sum[copy_j][copy_column], static_cast<const bf16*>(p.sum) + at, wanted);
#pragma unroll
    for (int c = 0; c < tile / K; ++c) {
      const bool has = active && start + c * K < L;
      const bf16* from = static_cast<const bf16*>(s.states) +
                         ((image * kept + (has ? start / K + c : 0)) * p.E + (active ? e : 0)) * N;
      async_copy_16(&to.states[c][0][column], from, has);
      async_copy_16(&to.states[c][1][column], from + N / 2, has);
    }
    bc = within ? load_bc_pair(s, row, copy_lane) : 0;
  };
  auto store_bc = [&](Stage<K>& to) {
    *reinterpret_cast<float2*>(&to.bc[copy_j][2 * copy_lane]) = {first_of(bc), second_of(bc)};
  };
  // Adds the warps' dB and dC of a tile in order.
  float* const bc_scratch = scratch + where.bc_at(k, block_e);
  auto flush = [&](const float(&parts)[warps][tile][part_row], int64_t image, int start) {
    for (int i = threadIdx.x; i < tile * 2 * N; i += threads) {
      const int j = i / (2 * N), n = i % (2 * N);
      if (start + j >= L) break;
      float total = 0;
#pragma unroll
      for (int w = 0; w < warps; ++w) total += parts[w][j][n];
      bc_scratch[(image * L + token_at(start + j)) * 2 * N + n] = total;
    }
  };

  const int count = images * tiles;  // tiles of all images, each image's from its last
  auto image_of = [&](int i) { return int64_t{first_image} + i / tiles; };
  auto start_of = [&](int i) { return (tiles - 1 - i % tiles) * tile; };
  request(shared.stages[0], image_of(0), start_of(0));
  store_bc(shared.stages[0]);
  for (int i = 0; i < count; ++i) {
    Stage<K>& now = shared.stages[i % 2];
    wait_for_async_copies();
    __syncthreads();
    if (i > 0) flush(shared.parts[(i - 1) % 2], image_of(i - 1), start_of(i - 1));
    const bool more = i + 1 < count;
    if (more) request(shared.stages[(i + 1) % 2], image_of(i + 1), start_of(i + 1));
    const int64_t image = image_of(i);
    const int start = start_of(i);
    if (start + tile >= L) {
#pragma unroll
      for (int n = 0; n < N; ++n) l[n] = 0;
    }
    // Where the tile's results go; tokens from `present` on have none.
    const int present = active ? L - start : 0;
    const int64_t row = image * L + token_at(start), at = row * p.E + e;
    bf16* const du = static_cast<bf16*>(s.du) + at;
    bf16* const ddelta_out = static_cast<bf16*>(s.ddelta) + at;
    bf16* const dz = static_cast<bf16*>(p.dz) + row * p.dz_row + e;
    float dB[4] = {0, 0, 0, 0}, dC[4] = {0, 0, 0, 0};
    // Behind the last token everything copied is zero, so l stays zero there.
#pragma unroll 1
    for (int c = tile / K - 1; c >= 0; --c) {
      float dt[K];
      uint32_t h[K][N / 2];  // the states before each step, in pairs
      {
        const uint4 a = now.states[c][0][column], b = now.states[c][1][column];
        h[0][0] = a.x, h[0][1] = a.y, h[0][2] = a.z, h[0][3] = a.w;
        h[0][4] = b.x, h[0][5] = b.y, h[0][6] = b.z, h[0][7] = b.w;
        float state[N];
#pragma unroll
        for (int n = 0; n < N / 2; ++n)
          state[2 * n] = first_of(h[0][n]), state[2 * n + 1] = second_of(h[0][n]);
#pragma unroll
        for (int j = 0; j < K; ++j) {
          const float x = fmaf(first_of(now.delta[c * K + j][column]), log2e, bias);
          dt[j] = softplus_log2(x);
          if (j == K - 1) break;
          const float dtu = dt[j] * (ln2 * first_of(now.u[c * K + j][column]));
          const float4* B = reinterpret_cast<const float4*>(now.bc[c * K + j]);
#pragma unroll
          for (int n = 0; n < N; n += 4) {
            const float4 v = B[n / 4];
            state[n] = fmaf(fast_exp2(dt[j] * A[n]), state[n], dtu * v.x);
            state[n + 1] = fmaf(fast_exp2(dt[j] * A[n + 1]), state[n + 1], dtu * v.y);
            state[n + 2] = fmaf(fast_exp2(dt[j] * A[n + 2]), state[n + 2], dtu * v.z);
            state[n + 3] = fmaf(fast_exp2(dt[j] * A[n + 3]), state[n + 3], dtu * v.w);
            h[j + 1][n / 2] = pack(state[n], state[n + 1]);
            h[j + 1][n / 2 + 1] = pack(state[n + 2], state[n + 3]);
          }
        }
      }
      // Otherwise the 16 (K - 1) decays are kept for the way back, in registers that are missing.
#pragma unroll
      for (int j = 0; j < K; ++j) dt[j] += zero;
#pragma unroll
      for (int j = K - 1; j >= 0; --j) {
        const int t = c * K + j;  // the token's place in the tile
        const float u = first_of(now.u[t][column]), z = first_of(now.z[t][column]);
        const float dy = first_of(now.dy[t][column]) * scale, q = sigmoid(z);
        const float g = dy * z * q, dtu = dt[j] * (ln2 * u);
        const float4* B = reinterpret_cast<const float4*>(now.bc[t]);
        float s1 = 0, s2 = 0;
        uint32_t lp[N / 2], hp[N / 2];  // l and the state after the step, in pairs
#pragma unroll
        for (int n = 0; n < N; n += 4) {
          const float4 Bv = B[n / 4], Cv = B[N / 4 + n / 4];
          const float Bn[4] = {Bv.x, Bv.y, Bv.z, Bv.w}, Cn[4] = {Cv.x, Cv.y, Cv.z, Cv.w};
          float after[4], ln[4];
#pragma unroll
          for (int m = 0; m < 4; ++m) {
            const uint32_t pair = h[j][(n + m) / 2];
            const float before = m % 2 ? second_of(pair) : first_of(pair);
            const float decay = fast_exp2(dt[j] * A[n + m]), carried = decay * before;
            ln[m] = fmaf(g, Cn[m], l[n + m]);
            const float lc = ln[m] * carried;
            s1 = fmaf(ln[m], Bn[m], s1);
            s2 = fmaf(lc, A[n + m], s2);
            dA[n + m] = fmaf(lc, dt[j], dA[n + m]);
            l[n + m] = ln[m] * decay;
            if (j == K - 1) after[m] = fmaf(dtu, Bn[m], carried);
          }
          lp[n / 2] = pack(ln[0], ln[1]), lp[n / 2 + 1] = pack(ln[2], ln[3]);
          if (j == K - 1) {
            hp[n / 2] = pack(after[0], after[1]), hp[n / 2 + 1] = pack(after[2], after[3]);
          } else {
            hp[n / 2] = h[(j + 1) % K][n / 2], hp[n / 2 + 1] = h[(j + 1) % K][n / 2 + 1];
          }
        }
        // dC += h g and dB += l (dt u), in the column of this token.
        const int swap = lane / 4 % 2;
        __syncwarp();
        mine.h[lane][swap] = {hp[0], hp[1], hp[2], hp[3]};
        mine.h[lane][1 - swap] = {hp[4], hp[5], hp[6], hp[7]};
        mine.l[lane][swap] = {lp[0], lp[1], lp[2], lp[3]};
        mine.l[lane][1 - swap] = {lp[4], lp[5], lp[6], lp[7]};
        mine.g[product_place(lane)] = bf16(g).bits;
        mine.dtu[product_place(lane)] = bf16(dtu).bits;
        __syncwarp();
        const bool my_token = lane / 4 == t;
        const uint4 gs =
            *(my_token ? reinterpret_cast<const uint4*>(mine.g) + lane % 4 : mine.zeros);
        const uint4 us =
            *(my_token ? reinterpret_cast<const uint4*>(mine.dtu) + lane % 4 : mine.zeros);
#pragma unroll
        for (int half = 0; half < 2; ++half) {  // 16 channels each
          const int row = half * 16 + lane % 8 + lane / 16 * 8;
          const int place = lane / 8 % 2 ^ row / 4 % 2;
          uint32_t a[4];
          load_matrices(a, &mine.h[row][place]);
          multiply_add(dC, a, half ? gs.z : gs.x, half ? gs.w : gs.y);
          load_matrices(a, &mine.l[row][place]);
          multiply_add(dB, a, half ? us.z : us.x, half ? us.w : us.y);
        }
        // The slope of softplus, sigmoid(x), is 1 - exp(-softplus(x)).
        const float ddelta = fmaf(u, s1, s2) * (1.0f - fast_exp2(-dt[j]));
        dD = fmaf(g, u, dD);
        dbias += ddelta;
        if (t < present) {
          du[t * step_at] = bf16(fmaf(dt[j] * ln2, s1, D * g));
          ddelta_out[t * step_at] = bf16(ddelta);
          if (with_dz)
            dz[t * step_dz] = bf16(dy * first_of(now.sum[t][column]) * q * fmaf(z, 1.0f - q, 1.0f));
        }
      }
    }
    float(&part)[tile][part_row] = shared.parts[i % 2][threadIdx.x / 32];
#pragma unroll
    for (int r = 0; r < 4;
         ++r) {  // of the product: rows lane / 4 (+ 8), columns lane % 4 * 2 (+ 1)
      const int n = lane / 4 + r / 2 * 8, t = lane % 4 * 2 + r % 2;
      part[t][n] = dB[r];
      part[t][N + n] = dC[r];
    }
    if (more) store_bc(shared.stages[(i + 1) % 2]);
  }
  __syncthreads();
  flush(shared.parts[(count - 1) % 2], image_of(count - 1), start_of(count - 1));

  if (!active) return;
  float* to = scratch + where.params_at(p.sides, k, group);
#pragma unroll
  for (int n = 0; n < N; ++n) to[int64_t{e} * N + n] = dA[n] * ln2 * A[n];  // dA_log = dA A
  to[int64_t{p.E} * N + e] = dD;
  to[int64_t{p.E} * (N + 1) + e] = dbias;
}

// Adds the blocks' dB and dC in order; a thread owns four numbers of one token.
__global__ void add_bc(ScanBwd p, const float* scratch) {
  const int k = blockIdx.y;
  const auto& s = p.side[k];
  const Scratch where(p);
  const int64_t i = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * 4;
  if (i >= where.bc) return;
  float4 total = {0, 0, 0, 0};
  for (int block = 0; block < where.blocks_e; ++block) {
    const float4 v = *reinterpret_cast<const float4*>(scratch + where.bc_at(k, block) + i);
    total.x += v.x, total.y += v.y, total.z += v.z, total.w += v.w;
  }
  const int64_t row = i / (2 * N);
  const int n = static_cast<int>(i % (2 * N));
  bf16* to = n < N ? static_cast<bf16*>(s.dBm) + row * s.db_row + n
                   : static_cast<bf16*>(s.dCm) + row * s.dc_row + n - N;
  const float v[4] = {total.x, total.y, total.z, total.w};
#pragma unroll
  for (int m = 0; m < 4; ++m) to[m] = bf16(v[m]);
}

// Adds the groups' parameter gradients in order: 8 slices of the groups, then the slices.
constexpr int slices = 8;
__global__ void add_params(ScanBwd p, const float* scratch) {
  __shared__ float part[slices][32];
  const int k = blockIdx.y;
  const auto& s = p.side[k];
  const Scratch where(p);
  const int64_t i = int64_t{blockIdx.x} * 32 + threadIdx.x;
  float total = 0;
  if (i < where.params)
    for (int group = threadIdx.y; group < where.groups; group += slices)
      total += scratch[where.params_at(p.sides, k, group) + i];
  part[threadIdx.y][threadIdx.x] = total;
  __syncthreads();
  if (threadIdx.y != 0 || i >= where.params) return;
  total = 0;
  for (int j = 0; j < slices; ++j) total += part[j][threadIdx.x];
  const int64_t EN = int64_t{p.E} * N;
  auto to = static_cast<float*>(i < EN ? s.dA_log : i < EN + p.E ? s.dD : s.dbias);
  if (to) to[i < EN ? i : (i - EN) % p.E] += total;
}

}  // namespace

bool scan_bwd_pipelined_supports(const ScanBwd& p, const Device& device) {
  bool fit = fits(p, device) && on_multiples(16, {p.dy}) && (!p.dz || p.sum) && !p.accumulate_dz;
  for (int k = 0; k < p.sides; ++k) {
    const auto& s = p.side[k];
    fit = fit && s.du && s.ddelta && s.dBm && s.dCm && s.states && !s.accumulate_du &&
          !s.accumulate_ddelta && !s.accumulate_dBm && !s.accumulate_dCm;
  }
  return fit && p.L < 1 << 24;
}

size_t scan_bwd_pipelined_scratch(const ScanBwd& p) {
  const Scratch where(p);
  return where.params_at(p.sides, p.sides, 0) * sizeof(float);
}

void scan_bwd_pipelined(const ScanBwd& p, const Launch& l) {
  if (p.B * p.L == 0) return;
  constexpr int K = scan_state_every(N), blocks_per_sm = K == 8 ? 3 : 4;
  const Scratch where(p);
  float* scratch = static_cast<float*>(l.scratch);
  const auto sides = static_cast<unsigned>(p.sides);
  KRAIT_CUDA_CHECK(cudaFuncSetAttribute(
      scan_bwd<K, blocks_per_sm>, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Shared<K>)));
  scan_bwd<K, blocks_per_sm>
      <<<dim3(where.blocks_e * where.groups, sides), threads, sizeof(Shared<K>), l.stream>>>(
          p, scratch, 0.0f);
  add_bc<<<dim3(unsigned((where.bc / 4 + 255) / 256), sides), 256, 0, l.stream>>>(p, scratch);
  add_params<<<dim3(unsigned((where.params + 31) / 32), sides), dim3(32, slices), 0, l.stream>>>(
      p, scratch);
}

}  // namespace krait
