// GPU row `split_states`, forward: for one or a few images, where `pipelined` has fewer warps than
// the GPU has schedulers, and each of them waits for its own results.
//   - 4 lanes share a channel, 4 of the 16 states each: 8 times the warps of `pipelined`.
//   - A warp walks 8 channels of one side, 8 tokens at a time, with the inputs copied 3 tiles
//     ahead. It waits for another warp once: where the two sides meet.
//   - Of the 8 tokens of a tile a lane has two to itself: it prepares them (softplus, gate) while
//     the tile before goes through the recurrence, and finishes them when the lanes of a channel
//     have added their shares of y.
// bf16, 16 states. Why, and what it is bound by: selective_scan.md
#include "kernels/common/cuda.h"
#include "kernels/selective_scan/four_lanes.cuh"
#include "kernels/selective_scan/rows.h"

namespace krait {
namespace {

using namespace four_lanes;

constexpr int stages = 4;
// With more channels, of all images and sides, `pipelined` has warps enough: 6 on each of 132
// multiprocessors. Measured on an H200 (selective_scan.md).
constexpr int64_t most_channels = 12 * 132 * 32;

template <bool project>
struct Stage {                                            // the inputs of a tile, as they arrive
  uint16_t rows[project ? 2 : 3][tile][channels];         // u, z, delta in bf16
  uint32_t bc[tile][N];                                   // pairs of bf16, those of B first
  std::conditional_t<project, uint32_t[2], char> dt[32];  // the pairs that each lane multiplies
};
struct Prepared {  // what a lane holds of a tile: its two tokens, and pairs of B or C
  float dt[2], dtu[2], Du[2], gate[2];
  uint32_t bc[tile / 2];
};
template <bool project>
struct Warp {
  Stage<project> stages[::krait::stages];
  Ready ready[2];
};

// Block: 8 channels of one image, a warp for each side. Shared memory: sides x Warp, then
// L x 8 floats for what a side leaves to the other (see pipelined_fwd.cu).
template <int sides, bool project>
__global__ __launch_bounds__(32 * sides) void scan_fwd(ScanFwd p, int blocks_e) {
  extern __shared__ __align__(16) char memory[];
  const int k = sides == 2 ? threadIdx.x / 32 : 0, lane = threadIdx.x % 32;
  auto& shared = reinterpret_cast<Warp<project>*>(memory)[k];
  auto between = reinterpret_cast<float*>(memory + sides * sizeof(Warp<project>));
  const int c = lane / 4, q = lane % 4;  // channel; states 4q to 4q + 3, tokens 2q and 2q + 1
  const int64_t b = blockIdx.x / blocks_e;
  const int first_channel = (blockIdx.x % blocks_e) * channels, e = first_channel + c;
  const int L = static_cast<int>(p.L), tiles = (L + tile - 1) / tile;
  const auto& s = p.side[k];
  auto token_at = [&](int step) { return s.reverse ? L - 1 - step : step; };
  // The step at which the side turns from leaving to finishing, and the tile of it.
  const int turn0 = L / 2 / tile * tile;
  const int turn = sides == 1 ? 0 : k == 0 ? turn0 : L - turn0;
  const int turn_tile = turn / tile < tiles ? turn / tile : tiles - 1;

  float h[4] = {0, 0, 0, 0};
  Channel of = load_channel<project>(p, s, e, q);
  const auto scale = static_cast<float>(p.scale);
  uint2* states = s.states ? reinterpret_cast<uint2*>(static_cast<bf16*>(s.states) +
                                                      (b * tiles * p.E + e) * N + 4 * q)
                           : nullptr;

  // What a lane copies of a tile: a row of u, z or delta, a pair of B or C of every second token,
  // two pairs of dt. The addresses move on from tile to tile.
  const int which = lane / tile, row_token = lane % tile, bc_token = lane / 16, pair = lane % 16;
  const bool copies_row = which < (project ? 2 : 3);
  const int forward = s.reverse ? -1 : 1;
  const int64_t row = forward * (which == 1 ? p.z_row : p.E);
  const int64_t bc_row = forward * (pair < N / 2 ? s.b_row : s.c_row);
  const int64_t first_token = b * L + token_at(0);
  const bf16* row_at = static_cast<const bf16*>(which == 0   ? s.u
                                                : which == 1 ? p.z
                                                             : s.delta) +
                       first_token * (which == 1 ? p.z_row : p.E) + row_token * row + first_channel;
  const bf16* bc_at = bc_pair(s, first_token, pair) + bc_token * bc_row;
  const bf16* dt_at =
      static_cast<const bf16*>(s.dt) + (first_token + forward * c) * s.dt_row + 2 * q;
  auto request = [&](int i) {
    auto& to = shared.stages[i % stages];
    const int left = L - i * tile;
    if (left > 0) {  // tokens behind the last are zeros
      if (copies_row) async_copy_16(to.rows[which][row_token], row_at, row_token < left);
#pragma unroll
      for (int j = 0; j < tile; j += 2)
        async_copy_4(&to.bc[j + bc_token][pair], bc_at + j * bc_row, j + bc_token < left);
      if constexpr (project)  // of token c
#pragma unroll
        for (int n = 0; n < 2; ++n)
          async_copy_4(&to.dt[lane][n], dt_at + 8 * n, c < left && 2 * q + 8 * n < p.R);
      row_at += tile * row, bc_at += tile * bc_row, dt_at += forward * tile * s.dt_row;
    }
    close_async_group();  // an empty one behind the last tile
  };

  auto prepare = [&](int i) {
    const auto& from = shared.stages[i % stages];
    Prepared made;
#pragma unroll
    for (int n = 0; n < tile / 2; ++n) made.bc[n] = from.bc[bc_token + 2 * n][pair];
    // W (8 channels x R) times dt (R x 8 tokens): the lane gets its own two tokens.
    float x[4] = {0, 0, 0, 0};
    if constexpr (project)
      multiply_add(x, of.w[0], 0, of.w[1], 0, from.dt[lane][0], from.dt[lane][1]);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const int j = 2 * q + n;
      const float u = first_of(from.rows[0][j][c]), z = first_of(from.rows[1][j][c]);
      if constexpr (!project) x[n] = first_of(from.rows[2][j][c]);
      made.dt[n] = softplus_log2(fmaf(x[n], log2e, of.bias));
      made.dtu[n] = made.dt[n] * (ln2 * u);
      made.Du[n] = of.D * u;
      made.gate[n] = scale * z * sigmoid(z);
    }
    return made;
  };
  auto publish = [&](int i, const Prepared& made) {
    auto& to = shared.ready[i % 2];
#pragma unroll
    for (int n = 0; n < tile / 2; ++n)
      *reinterpret_cast<float2*>(&to.bc[bc_token + 2 * n][2 * pair]) = {first_of(made.bc[n]),
                                                                        second_of(made.bc[n])};
    to.dt[q][c ^ 2 * q] = {made.dt[0], made.dtu[0], made.dt[1], made.dtu[1]};
  };

#pragma unroll 1
  for (int i = 0; i < stages; ++i) request(i);
  of.finish();
  wait_for_async_groups_but<stages - 1>();
  __syncwarp();
  int64_t out_at = (first_token + forward * 2 * q) * p.E + e;  // the first of the lane's tokens
  Prepared now = prepare(0);
  publish(0, now);

  for (int i = 0; i < tiles; ++i) {
    wait_for_async_groups_but<stages - 2>();  // tile i + 1 is there
    __syncwarp();
    // No branch, so that this and the recurrence fill each other's waits. Behind the last tile
    // there is nothing to prepare, and nobody reads what comes of it.
    const Prepared next = prepare(i + 1);
    request(i + stages);
    if (states) states[int64_t{i} * p.E * (N / 4)] = {bf16_pair(h[0], h[1]), bf16_pair(h[2], h[3])};

    float y[tile];
    walk(h, y, shared.ready[i % 2], of, c, q);
    publish(i + 1, next);

    share_out(y, q);
    y[0] += now.Du[0], y[1] += now.Du[1];
    if constexpr (sides == 2) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int step = i * tile + 2 * q + j;
        if (step < turn) between[token_at(step) * channels + c] = y[j];  // turn <= L
      }
      if (i == turn_tile) __syncthreads();
    }
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int step = i * tile + 2 * q + j;
      if (step >= turn && step < L) {
        if constexpr (sides == 2) y[j] += between[token_at(step) * channels + c];
        const int64_t at = out_at + j * forward * p.E;
        if (p.sum) static_cast<bf16*>(p.sum)[at] = bf16(y[j]);
        static_cast<bf16*>(p.y)[at] = bf16(y[j] * now.gate[j]);
      }
    }
    now = next;
    out_at += forward * tile * p.E;
  }
}

size_t shared_bytes(const ScanFwd& p) {
  return p.sides * (p.R ? sizeof(Warp<true>) : sizeof(Warp<false>)) +
         (p.sides == 2 ? p.L * channels * sizeof(float) : 0);
}

}  // namespace

// By sizes alone, so that a layer computed again gives the same bits, with kept states or without.
bool scan_fwd_split_states_supports(const ScanFwd& p, const Device& device) {
  return fits(p, device) && p.B * p.E * p.sides <= most_channels && p.L * p.E < int64_t{1} << 31 &&
         shared_bytes(p) <= most_shared_bytes(device.sm) &&
         (p.sides == 1 || p.side[0].reverse != p.side[1].reverse);
}

void scan_fwd_split_states(const ScanFwd& p, const Launch& l) {
  if (p.B * p.L == 0) return;
  const int blocks_e = p.E / channels;
  const auto grid = static_cast<unsigned>(blocks_e * p.B);
  const size_t bytes = shared_bytes(p);
  auto launch = [&](auto kernel) {
    KRAIT_CUDA_CHECK(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)));
    kernel<<<grid, 32 * p.sides, bytes, l.stream>>>(p, blocks_e);
  };
  if (p.sides == 2)
    p.R ? launch(scan_fwd<2, true>) : launch(scan_fwd<2, false>);
  else
    p.R ? launch(scan_fwd<1, true>) : launch(scan_fwd<1, false>);
}

}  // namespace krait
