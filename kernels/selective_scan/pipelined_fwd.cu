// GPU row `pipelined`, forward: thread_per_channel with every wait taken out of the way.
//   - u, delta and z of the next 8 tokens arrive in shared memory (cp.async) during the current 8.
//   - Both sides run at the same time, half of a block's threads each, and meet in the middle:
//   until
//     then a side leaves its sums in scratch, after that it adds what the other side left and
//     finishes the token. So both do the same work, and the sum needs no second kernel.
//   - softplus and the gate from one-instruction exponentials, logarithms and reciprocals.
// bf16, 16 states. Why it is fast, and what it is bound by: selective_scan.md
#include "kernels/selective_scan/pipelined.cuh"
#include "kernels/selective_scan/rows.h"

namespace krait {
namespace {

using namespace pipelined;

template <int sides>
struct Stage {  // a tile of the inputs; a column is a thread's channel and side
  uint16_t u[tile][threads], delta[tile][threads], z[tile][threads];  // bf16
  float other[sides == 2 ? tile : 1][threads];                        // what the other side left
  float bc[sides][tile][2 * N];
};

// Block: `channels` channels of one image, all sides. K: steps between kept states.
template <int sides, int K>
__global__ __launch_bounds__(threads, 6) void scan_fwd(ScanFwd p, int blocks_e, float* between) {
  constexpr int channels = threads / sides;
  __shared__ alignas(16) Stage<sides> stages[2];
  const int64_t b = blockIdx.x / blocks_e;
  const int L = static_cast<int>(p.L);

  // A thread computes one channel e of one side k.
  const int column = threadIdx.x, k = sides == 2 ? column / channels : 0;
  const int first_channel = (blockIdx.x % blocks_e) * channels;
  const int e = first_channel + column % channels;
  const bool active = e < p.E;
  const auto& s = p.side[k];
  // The step at which the side turns from leaving to finishing.
  const int turn0 = sides == 2 ? L / 2 / tile * tile : 0, turn1 = sides == 2 ? L - turn0 : 0;
  const int turn = k == 0 ? turn0 : turn1;
  float A[N], h[N];
#pragma unroll
  for (int n = 0; n < N; ++n) {
    A[n] = active ? -__expf(static_cast<const float*>(s.A_log)[e * N + n]) : 0.0f;
    h[n] = 0;
  }
  const float D = s.D && active ? static_cast<const float*>(s.D)[e] : 0.0f;
  const float bias = s.bias && active ? static_cast<const float*>(s.bias)[e] * log2e : 0.0f;
  uint4* states = s.states && active
                      ? reinterpret_cast<uint4*>(static_cast<bf16*>(s.states) +
                                                 (b * ((L + K - 1) / K) * p.E + e) * N)
                      : nullptr;
  // The token of this image that the side visits at a step.
  const float scale = static_cast<float>(p.scale);
  auto token_at = [&](int step) { return s.reverse ? L - 1 - step : step; };

  // It copies 8 channels of one token of a tile, and a pair or two of B and C.
  constexpr int copiers = channels / 8;  // of a token
  const int copy_j = column % channels / copiers, copy_lane = column % copiers;
  const int copy_column = k * channels + copy_lane * 8;
  const int copy_e = first_channel + copy_lane * 8;
  const int64_t image = b * L * p.E;
  uint32_t bc[16 / copiers];  // B and C on their way to the next stage

  auto request = [&](Stage<sides>& to, int start, bool finish) {
    const int step = start + copy_j;
    const bool within = step < L, wanted = within && copy_e < p.E;
    const int t = within ? token_at(step) : 0, at = t * p.E + copy_e;
    async_copy_16(&to.u[copy_j][copy_column], static_cast<const bf16*>(s.u) + image + at, wanted);
    async_copy_16(&to.delta[copy_j][copy_column], static_cast<const bf16*>(s.delta) + image + at,
                  wanted);
    if (finish) {
      async_copy_16(&to.z[copy_j][copy_column],
                    static_cast<const bf16*>(p.z) + (b * L + t) * p.z_row + copy_e, wanted);
      if constexpr (sides == 2) {
        const bool left = wanted && step >= turn;
        async_copy_16(&to.other[copy_j][copy_column], between + image + at, left);
        async_copy_16(&to.other[copy_j][copy_column + 4], between + image + at + 4, left);
      }
    }
#pragma unroll
    for (int q = 0; q < 16 / copiers; ++q)
      bc[q] = within ? load_bc_pair(s, b * L + t, copy_lane + q * copiers) : 0;
  };
  auto store_bc = [&](Stage<sides>& to) {
#pragma unroll
    for (int q = 0; q < 16 / copiers; ++q)
      *reinterpret_cast<float2*>(&to.bc[k][copy_j][2 * (copy_lane + q * copiers)]) = {
          first_of(bc[q]), second_of(bc[q])};
  };

  // Steps [from, to) of this side, in `tiles` tiles from step `start` on. A tile may begin before
  // `from` or end behind `to`.
  auto walk = [&](auto finish_tag, int start, int tiles, int from, int to) {
    constexpr bool finish = decltype(finish_tag)::value;
    if (tiles <= 0) return;
    request(stages[0], start, finish);
    store_bc(stages[0]);
    for (int i = 0; i < tiles; ++i, start += tile) {
      Stage<sides>& now = stages[i % 2];
      Stage<sides>& next = stages[(i + 1) % 2];
      wait_for_async_copies();
      __syncthreads();
      const bool more = i + 1 < tiles;
      if (more) request(next, start + tile, finish);
      const int first = from > start ? from - start : 0,
                last = to - start < tile ? to - start : tile;
      if (active) {
        const int step_at = s.reverse ? -p.E : p.E;
        int64_t at = image + token_at(start + first) * p.E + e;
#pragma unroll 4
        for (int j = first; j < last; ++j, at += step_at) {
          if (states && (start + j) % K == 0) {
            uint4* to = states + int64_t{(start + j) / K} * p.E * (N / 8);
            to[0] = {pack(h[0], h[1]), pack(h[2], h[3]), pack(h[4], h[5]), pack(h[6], h[7])};
            to[1] = {pack(h[8], h[9]), pack(h[10], h[11]), pack(h[12], h[13]), pack(h[14], h[15])};
          }
          const float x = fmaf(first_of(now.delta[j][column]), log2e, bias);
          const float dt = softplus_log2(x);
          const float u = first_of(now.u[j][column]), dtu = dt * (ln2 * u);
          const float4* bc = reinterpret_cast<const float4*>(now.bc[k][j]);
          float y = D * u, y2 = 0;
#pragma unroll
          for (int n = 0; n < N; n += 4) {
            const float4 B = bc[n / 4], C = bc[N / 4 + n / 4];
            h[n] = fmaf(fast_exp2(dt * A[n]), h[n], dtu * B.x);
            h[n + 1] = fmaf(fast_exp2(dt * A[n + 1]), h[n + 1], dtu * B.y);
            h[n + 2] = fmaf(fast_exp2(dt * A[n + 2]), h[n + 2], dtu * B.z);
            h[n + 3] = fmaf(fast_exp2(dt * A[n + 3]), h[n + 3], dtu * B.w);
            y = fmaf(h[n], C.x, y), y2 = fmaf(h[n + 1], C.y, y2);
            y = fmaf(h[n + 2], C.z, y), y2 = fmaf(h[n + 3], C.w, y2);
          }
          y += y2;
          if constexpr (finish) {
            if constexpr (sides == 2) y += now.other[j][column];
            if (p.sum) static_cast<bf16*>(p.sum)[at] = bf16(y);
            const float z = first_of(now.z[j][column]);
            static_cast<bf16*>(p.y)[at] = bf16(y * scale * z * sigmoid(z));
          } else {
            between[at] = y;
          }
        }
      }
      if (more) store_bc(next);
    }
  };

  if constexpr (sides == 2) {
    const int most = turn0 > turn1 ? turn0 : turn1;
    walk(std::false_type{}, 0, (most + tile - 1) / tile, 0, turn);
    __syncthreads();  // each side reads what the other left
    const int least = turn0 < turn1 ? turn0 : turn1, start = least / tile * tile;
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
  constexpr int K = scan_state_every(N);
  const int channels = threads / p.sides, blocks_e = (p.E + channels - 1) / channels;
  const auto grid = static_cast<unsigned>(blocks_e * p.B);
  auto between = static_cast<float*>(l.scratch);
  if (p.sides == 2)
    scan_fwd<2, K><<<grid, threads, 0, l.stream>>>(p, blocks_e, between);
  else
    scan_fwd<1, K><<<grid, threads, 0, l.stream>>>(p, blocks_e, between);
}

}  // namespace krait
