// GPU row `pipelined`, forward: thread_per_channel with every wait taken out of the way.
//   - A thread owns two neighbouring channels, which halves the reads of B and C.
//   - u, delta and z of the next 8 tokens arrive in shared memory (cp.async) during the current 8.
//   - Both sides run at the same time, half of a block's threads each, and meet in the middle: up
//     to there a side leaves its sums in scratch, behind it adds what the other side left and
//     finishes the token. So both do the same work, and the sum needs no second kernel.
//   - softplus and the gate from one-instruction exponentials, logarithms and reciprocals.
//   - delta may be made here, by tensor cores, from the 12 or so numbers a token has for it.
// bf16, 16 states. Why it is fast, and what it is bound by: selective_scan.md
#include "kernels/common/cuda.h"
#include "kernels/common/device/named_barrier.cuh"
#include "kernels/selective_scan/pipelined.cuh"
#include "kernels/selective_scan/rows.h"

namespace krait {
namespace {

using namespace pipelined;

constexpr int channels = 128;  // of a block, two a thread
constexpr int side_threads = channels / 2;

template <int sides, bool project>
struct Stage {  // a tile of the inputs of all sides; u and z in bf16
  uint16_t u[sides][tile][channels], z[sides][tile][channels];
  float other[sides == 2 ? 2 : 1][sides == 2 ? tile : 1][channels];  // what the other side left
  uint32_t bc[sides][tile][N];                                       // pairs of bf16
  uint16_t dt[project ? sides : 1][tile][max_R];
};
template <int sides, bool project>
struct Shared {
  Stage<sides, project> stages[2];
  // Copied with the stage, or made here. 8 more: 8 tokens of a product meet all banks.
  std::conditional_t<project, float, uint16_t> delta[project ? 1 : 2][sides][tile][channels + 8];
  float bc[sides][2][tile][2 * N];  // B and C of the tile, a copy for each warp
  Matrix<channels> dt_weights[project ? sides : 1];
};

// A = -exp(A_log) of two neighbouring channels from e on; A_log lies on 16 bytes. All loads are on
// their way before the first exponential.
__device__ __forceinline__ void load_rates(float (&A)[2][N], const void* A_log, int e,
                                           bool active) {
  const float4* from = static_cast<const float4*>(A_log) + int64_t{e} * (N / 4);
  float4 v[2 * N / 4];
#pragma unroll
  for (int i = 0; i < 2 * N / 4; ++i) v[i] = active ? from[i] : float4{0, 0, 0, 0};
#pragma unroll
  for (int i = 0; i < 2 * N / 4; ++i) {
    float* to = &A[4 * i / N][4 * i % N];
    to[0] = -__expf(v[i].x), to[1] = -__expf(v[i].y);
    to[2] = -__expf(v[i].z), to[3] = -__expf(v[i].w);
  }
}

// Queues the copy of a pair of dt of the token at `row`, or of zeros.
template <class P, class S>
__device__ __forceinline__ void copy_dt_pair(uint16_t& to, const P& p, const S& s, int64_t row,
                                             int pair, bool within) {
  const bool wanted = within && 2 * pair < p.R;
  async_copy_4(&to, static_cast<const bf16*>(s.dt) + row * s.dt_row + (wanted ? 2 * pair : 0),
               wanted);
}
// delta of a tile and of `count` channels from row `first` of w on: `put` gets the token, the
// channel's row in w, and two numbers, for it and the next. All lanes of a warp take part.
template <int count, int rows, class F>
__device__ __forceinline__ void make_delta(const uint16_t (&dt)[tile][max_R], const Matrix<rows>& w,
                                           int first, F&& put) {
  const int lane = threadIdx.x % 32, token = lane / 4, pair = lane % 4 * 2;
  const uint32_t a0 = word(dt[token][pair]), a2 = word(dt[token][pair + 8]);  // 8 rows of 16
  const uint4* row = &half_row(w, first + lane % 8 + lane / 16 * 8, lane / 8 % 2);
#pragma unroll
  for (int c = 0; c < count; c += 16) {
    uint32_t b[4];
    load_matrices<false>(b, row[2 * c]);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float x[4] = {0, 0, 0, 0};
      multiply_add(x, a0, 0, a2, 0, b[2 * i], b[2 * i + 1]);
      put(token, first + c + i * 8 + pair, float2{x[0], x[1]});
    }
  }
}

// Block: 128 channels of one image, all sides.
template <int sides, bool project>
__global__ __launch_bounds__(sides* side_threads, 8 / sides) void scan_fwd(ScanFwd p, int blocks_e,
                                                                           float* between) {
  constexpr int K = scan_state_every(N);
  extern __shared__ __align__(16) char memory[];
  auto& shared = *reinterpret_cast<Shared<sides, project>*>(memory);
  const int64_t b = blockIdx.x / blocks_e;
  const int first_channel = (blockIdx.x % blocks_e) * channels;
  const int L = static_cast<int>(p.L);

  // A thread computes two channels, from e on, of one side k.
  const int k = sides == 2 ? threadIdx.x / side_threads : 0;
  const int thread = threadIdx.x % side_threads, column = 2 * thread;
  const int e = first_channel + column;
  const bool active = e < p.E;
  const auto& s = p.side[k];
  // The step at which the side turns from leaving to finishing.
  const int turn0 = sides == 2 ? L / 2 / tile * tile : 0, turn1 = sides == 2 ? L - turn0 : 0;
  const int turn = k == 0 ? turn0 : turn1;
  uint4* states = s.states && active
                      ? reinterpret_cast<uint4*>(static_cast<bf16*>(s.states) +
                                                 (b * ((L + K - 1) / K) * p.E + e) * N)
                      : nullptr;
  const float scale = static_cast<float>(p.scale);
  // The token of this image that the side visits at a step.
  auto token_at = [&](int step) { return s.reverse ? L - 1 - step : step; };

  // It copies 8 channels of two tokens of a tile, and two pairs of B or C.
  const int copy_column = thread % 16 * 8;
  const int copy_e = first_channel + copy_column;
  const int64_t image = b * L * p.E;

  auto request = [&](int stage, int start, bool finish) {
    auto& to = shared.stages[stage];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int j = thread / 16 + i * 4, step = start + j;
      const bool within = step < L, wanted = within && copy_e < p.E;
      const int t = within ? token_at(step) : 0, at = t * p.E + copy_e;
      async_copy_16(&to.u[k][j][copy_column], static_cast<const bf16*>(s.u) + image + at, wanted);
      if constexpr (!project)
        async_copy_16(&shared.delta[stage][k][j][copy_column],
                      static_cast<const bf16*>(s.delta) + image + at, wanted);
      if (finish) {
        async_copy_16(&to.z[k][j][copy_column],
                      static_cast<const bf16*>(p.z) + (b * L + t) * p.z_row + copy_e, wanted);
        if constexpr (sides == 2) {
          const bool left = wanted && step >= turn;
          async_copy_16(&to.other[k][j][copy_column], between + image + at, left);
          async_copy_16(&to.other[k][j][copy_column + 4], between + image + at + 4, left);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      // In a loop of its own: in the one above registers spilled.
      const int j = thread / N + i * side_threads / N, step = start + j;
      const bool within = step < L;
      async_copy_4(&to.bc[k][j][thread % N],
                   bc_pair(s, b * L + (within ? token_at(step) : 0), thread % N), within);
    }
    if constexpr (project) {
      const int j = thread / 8, step = start + j;
      const bool within = step < L;
      copy_dt_pair(to.dt[k][j][thread % 8 * 2], p, s, b * L + (within ? token_at(step) : 0),
                   thread % 8, within);
    }
  };
  // What takes long to come is asked for first.
  if constexpr (project)
    copy_dt_weights<channels, side_threads>(shared.dt_weights[k], p, s, first_channel, thread);
  request(0, 0, sides == 1);
  float A[2][N], h[2][N], D[2] = {0, 0}, bias[2] = {0, 0};
  load_rates(A, s.A_log, e, active);
#pragma unroll
  for (int c = 0; c < 2; ++c) {
#pragma unroll
    for (int n = 0; n < N; ++n) h[c][n] = 0;
    if (s.D && active) D[c] = static_cast<const float*>(s.D)[e + c];
    if (s.bias && active) bias[c] = static_cast<const float*>(s.bias)[e + c] * log2e;
  }

  // Steps [from, to) of this side, in `tiles` tiles from step `start` on, of which the first is
  // requested. A tile may begin before `from` or end behind `to`.
  auto walk = [&](auto finish_tag, int start, int tiles, int from, int to) {
    constexpr bool finish = decltype(finish_tag)::value;
    for (int i = 0; i < tiles; ++i, start += tile) {
      const int stage = i % 2;
      const auto& now = shared.stages[stage];
      auto& delta = shared.delta[project ? 0 : stage][k];
      auto& tile_bc = shared.bc[k][thread / 32];
      wait_for_async_copies();
      if (k == 0)  // the sides do not wait for each other here
        sync_some<1, side_threads>();
      else
        sync_some<2, side_threads>();
      if (i + 1 < tiles) request(1 - stage, start + tile, finish);
      const int first = from > start ? from - start : 0;
      const int last = to - start < tile ? to - start : tile;
      // What a warp prepares for itself: B and C as floats, delta if it is not given.
#pragma unroll
      for (int i = thread % 32; i < tile * N; i += 32) {
        const uint32_t pair = now.bc[k][i / N][i % N];
        *reinterpret_cast<float2*>(&tile_bc[i / N][i % N * 2]) = {first_of(pair), second_of(pair)};
      }
      if constexpr (project)
        make_delta<64>(now.dt[k], shared.dt_weights[k], thread / 32 * 64,
                       [&](int j, int channel, float2 x) {
                         *reinterpret_cast<float2*>(&delta[j][channel]) = x;
                       });
      __syncwarp();
      if (active) {
        const int step_at = s.reverse ? -p.E : p.E;
        int64_t at = image + token_at(start + first) * p.E + e;
#pragma unroll 2
        for (int j = first; j < last; ++j, at += step_at) {
          if (states && (start + j) % K == 0) {
            uint4* to = states + int64_t{(start + j) / K} * p.E * (N / 8);
#pragma unroll
            for (int c = 0; c < 2; ++c)
#pragma unroll
              for (int n = 0; n < N; n += 8)
                to[c * 2 + n / 8] = {
                    bf16_pair(h[c][n], h[c][n + 1]), bf16_pair(h[c][n + 2], h[c][n + 3]),
                    bf16_pair(h[c][n + 4], h[c][n + 5]), bf16_pair(h[c][n + 6], h[c][n + 7])};
          }
          float2 x;
          if constexpr (project) {
            x = *reinterpret_cast<const float2*>(&delta[j][column]);
          } else {
            const uint32_t pair = word(delta[j][column]);
            x = {first_of(pair), second_of(pair)};
          }
          const uint32_t us = word(now.u[k][j][column]);
          const float u[2] = {first_of(us), second_of(us)};
          const float dt[2] = {softplus_log2(fmaf(x.x, log2e, bias[0])),
                               softplus_log2(fmaf(x.y, log2e, bias[1]))};
          const float dtu[2] = {dt[0] * (ln2 * u[0]), dt[1] * (ln2 * u[1])};
          const float4* bc = reinterpret_cast<const float4*>(tile_bc[j]);
          float y[2] = {D[0] * u[0], D[1] * u[1]};
#pragma unroll
          for (int n = 0; n < N; n += 4) {
            const float4 Bv = bc[n / 4], Cv = bc[N / 4 + n / 4];
            const float B[4] = {Bv.x, Bv.y, Bv.z, Bv.w}, C[4] = {Cv.x, Cv.y, Cv.z, Cv.w};
#pragma unroll
            for (int m = 0; m < 4; ++m)
#pragma unroll
              for (int c = 0; c < 2; ++c) {
                const float decay = fast_exp2(dt[c] * A[c][n + m]);
                h[c][n + m] = fmaf(decay, h[c][n + m], dtu[c] * B[m]);
                y[c] = fmaf(h[c][n + m], C[m], y[c]);
              }
          }
          if constexpr (finish) {
            if constexpr (sides == 2) {
              const float2 other = *reinterpret_cast<const float2*>(&now.other[k][j][column]);
              y[0] += other.x, y[1] += other.y;
            }
            if (p.sum)
              *reinterpret_cast<uint32_t*>(static_cast<bf16*>(p.sum) + at) = bf16_pair(y[0], y[1]);
            const uint32_t zs = word(now.z[k][j][column]);
            const float z[2] = {first_of(zs), second_of(zs)};
            *reinterpret_cast<uint32_t*>(static_cast<bf16*>(p.y) + at) =
                bf16_pair(y[0] * scale * z[0] * sigmoid(z[0]), y[1] * scale * z[1] * sigmoid(z[1]));
          } else {
            *reinterpret_cast<float2*>(between + at) = {y[0], y[1]};
          }
        }
      }
    }
  };

  if constexpr (sides == 2) {
    const int most = turn0 > turn1 ? turn0 : turn1;
    walk(std::false_type{}, 0, (most + tile - 1) / tile, 0, turn);
    __syncthreads();  // each side reads what the other left
    const int least = turn0 < turn1 ? turn0 : turn1, start = least / tile * tile;
    request(0, start, true);
    walk(std::true_type{}, start, (L - start + tile - 1) / tile, turn, L);
  } else {
    walk(std::true_type{}, 0, (L + tile - 1) / tile, 0, L);
  }
}

}  // namespace

bool scan_fwd_pipelined_supports(const ScanFwd& p, const Device& device) {
  return fits(p, device) && p.L * p.E < int64_t{1} << 31 &&
         (p.sides == 1 || p.side[0].reverse != p.side[1].reverse);
}

size_t scan_fwd_pipelined_scratch(const ScanFwd& p) {
  return p.sides == 2 ? p.B * p.L * p.E * sizeof(float) : 0;
}

void scan_fwd_pipelined(const ScanFwd& p, const Launch& l) {
  if (p.B * p.L == 0) return;
  const int blocks_e = (p.E + channels - 1) / channels;
  const auto grid = static_cast<unsigned>(blocks_e * p.B);
  auto between = static_cast<float*>(l.scratch);
  auto launch = [&](auto kernel, size_t bytes) {
    KRAIT_CUDA_CHECK(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)));
    kernel<<<grid, p.sides * side_threads, bytes, l.stream>>>(p, blocks_e, between);
  };
  if (p.sides == 2)
    p.R ? launch(scan_fwd<2, true>, sizeof(Shared<2, true>))
        : launch(scan_fwd<2, false>, sizeof(Shared<2, false>));
  else
    p.R ? launch(scan_fwd<1, true>, sizeof(Shared<1, true>))
        : launch(scan_fwd<1, false>, sizeof(Shared<1, false>));
}

}  // namespace krait
