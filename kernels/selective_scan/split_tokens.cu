// GPU row `split_tokens`, forward: for one or a few images, as `split_states`, and of so few tokens
// that their inputs fit into shared memory. There a warp walked all tokens of its side, one after
// the other; here 8 warps share them.
//   - The sequence is cut into parts, a warp for each. A part turns the state h before it into
//     Q h + r. First a warp finds its r, from h = 0, and Q = exp(A sum of dt). Then it puts the
//     parts before its own together to the state it starts from, and walks its tokens again.
//   - A block has one side of 8 channels; the two sides are a cluster, and each finishes half of
//     the tokens with what the other has left in its shared memory (sm_90).
// bf16, 16 states. Why, and what it is bound by: selective_scan.md
#include "kernels/common/cuda.h"
#include "kernels/common/device/cluster.cuh"
#include "kernels/selective_scan/four_lanes.cuh"
#include "kernels/selective_scan/rows.h"

namespace krait {
namespace {

using namespace four_lanes;

constexpr int parts = 8;
// With more channels, of all images and sides, its second walk costs more than it saves. A guess.
constexpr int64_t most_channels = 4 * 2 * 384;

template <bool project>
struct Tile {
  // As they arrive: u and delta in bf16, pairs of B and C, the pairs of dt that each lane
  // multiplies.
  uint16_t rows[project ? 1 : 2][tile][channels];
  uint32_t bc[tile][N];
  std::conditional_t<project, uint32_t[2], char> dt[32];
  Ready ready;
};
struct Part {  // what it does to the state before it
  float4 r[channels][4];
  float dt[channels];  // the sum over its tokens
};

// Shared memory: `parts` x Part, tiles x Tile, then tiles x 8 rows of 8 sums, one for each token.
template <int sides, bool project>
__global__ __launch_bounds__(32 * parts) void scan_fwd(ScanFwd p, int blocks_e) {
  extern __shared__ __align__(16) char memory[];
  const int part = threadIdx.x / 32, lane = threadIdx.x % 32, c = lane / 4, q = lane % 4;
  const int k = sides == 2 ? blockIdx.x % 2 : 0;
  const int64_t b = blockIdx.x / sides / blocks_e;
  const int first_channel = blockIdx.x / sides % blocks_e * channels, e = first_channel + c;
  const int L = static_cast<int>(p.L), tiles = (L + tile - 1) / tile;
  auto all_parts = reinterpret_cast<Part*>(memory);
  auto all_tiles = reinterpret_cast<Tile<project>*>(memory + parts * sizeof(Part));
  auto sums = reinterpret_cast<float*>(all_tiles + tiles);
  const auto& s = p.side[k];
  auto token_at = [&](int step) { return s.reverse ? L - 1 - step : step; };
  const int first = part * tiles / parts, end = (part + 1) * tiles / parts;  // tiles

  // What a lane copies of a tile: a row of u or delta, a pair of B or C of every second token, two
  // pairs of dt. Tokens behind the last are zeros.
  const int which = lane / tile, row_token = lane % tile, bc_token = lane / 16, pair = lane % 16;
  auto row_of = [&](int step) { return b * L + token_at(step); };
  for (int i = first; i < end; ++i) {
    auto& to = all_tiles[i];
    const int step = i * tile;
    if (which < (project ? 1 : 2)) {
      const bool within = step + row_token < L;
      const auto from = static_cast<const bf16*>(which == 0 ? s.u : s.delta);
      async_copy_16(to.rows[which][row_token],
                    from + (within ? row_of(step + row_token) * p.E + first_channel : 0), within);
    }
#pragma unroll
    for (int j = bc_token; j < tile; j += 2) {
      const bool within = step + j < L;
      async_copy_4(&to.bc[j][pair], bc_pair(s, within ? row_of(step + j) : 0, pair), within);
    }
    if constexpr (project)  // of token c
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        const bool within = step + c < L && 2 * q + 8 * n < p.R;
        async_copy_4(&to.dt[lane][n],
                     static_cast<const bf16*>(s.dt) +
                         (within ? row_of(step + c) * s.dt_row + 2 * q + 8 * n : 0),
                     within);
      }
  }
  const Channel of = load_channel<project>(p, s, e, q);
  wait_for_async_copies();
  __syncwarp();

  // What a tile's recurrence reads, all tiles of the part.
  float total_dt = 0;
  for (int i = first; i < end; ++i) {
    auto& t = all_tiles[i];
#pragma unroll
    for (int j = bc_token; j < tile; j += 2)
      *reinterpret_cast<float2*>(&t.ready.bc[j][2 * pair]) = {first_of(t.bc[j][pair]),
                                                              second_of(t.bc[j][pair])};
    // W (8 channels x R) times dt (R x 8 tokens): the lane gets its own two tokens.
    float x[4] = {0, 0, 0, 0}, dtu[2];
    if constexpr (project) multiply_add(x, of.w[0], 0, of.w[1], 0, t.dt[lane][0], t.dt[lane][1]);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      if constexpr (!project) x[n] = first_of(t.rows[1][2 * q + n][c]);
      x[n] = softplus_log2(fmaf(x[n], log2e, of.bias));
      dtu[n] = x[n] * (ln2 * first_of(t.rows[0][2 * q + n][c]));
      total_dt += x[n];
    }
    t.ready.dt[q][c ^ 2 * q] = {x[0], dtu[0], x[1], dtu[1]};
  }
  __syncwarp();

  float h[4] = {0, 0, 0, 0}, y[tile];
  if (part < parts - 1) {
    for (int i = first; i < end; ++i) walk<false>(h, y, all_tiles[i].ready, of, c, q);
    total_dt += __shfl_xor_sync(~0u, total_dt, 1);
    total_dt += __shfl_xor_sync(~0u, total_dt, 2);
    all_parts[part].r[c][q] = {h[0], h[1], h[2], h[3]};
    if (q == 0) all_parts[part].dt[c] = total_dt;
  }
  __syncthreads();
#pragma unroll
  for (int m = 0; m < 4; ++m) h[m] = 0;
  for (int i = 0; i < part; ++i) {
    const float dt = all_parts[i].dt[c];
    const float4 v = all_parts[i].r[c][q];
    const float r[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int m = 0; m < 4; ++m) h[m] = fmaf(fast_exp2(dt * of.A[m]), h[m], r[m]);
  }

  for (int i = first; i < end; ++i) {
    if (s.states)
      reinterpret_cast<uint2*>(s.states)[((b * tiles + i) * p.E + e) * (N / 4) + q] = {
          bf16_pair(h[0], h[1]), bf16_pair(h[2], h[3])};
    walk(h, y, all_tiles[i].ready, of, c, q);
    share_out(y, q);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const int step = i * tile + 2 * q + n;
      const float u = first_of(all_tiles[i].rows[0][2 * q + n][c]);
      if (step < L) sums[token_at(step) * channels + c] = fmaf(of.D, u, y[n]);
    }
  }

  // All tokens are there. The gate: a thread has two channels of every 64th token of its half.
  const float* others = nullptr;
  if constexpr (sides == 2) {
    sync_cluster();
    others = in_cluster(sums, 1 - k);
  } else {
    __syncthreads();
  }
  const int until = sides == 1 || k == 1 ? L : L / 2;
  const auto scale = static_cast<float>(p.scale);
  for (int t = (k == 1 ? L / 2 : 0) + threadIdx.x / 4; t < until; t += 8 * parts) {
    const int at = t * channels + 2 * q;
    float2 sum = *reinterpret_cast<const float2*>(sums + at);
    if constexpr (sides == 2) {
      const float2 other = *reinterpret_cast<const float2*>(others + at);
      sum.x += other.x, sum.y += other.y;
    }
    const int64_t row = b * L + t;
    const int e2 = first_channel + 2 * q;
    const uint32_t z =
        *reinterpret_cast<const uint32_t*>(static_cast<const bf16*>(p.z) + row * p.z_row + e2);
    const float z0 = first_of(z), z1 = second_of(z);
    auto put = [&](void* to, float v0, float v1) {
      *reinterpret_cast<uint32_t*>(static_cast<bf16*>(to) + row * p.E + e2) = bf16_pair(v0, v1);
    };
    if (p.sum) put(p.sum, sum.x, sum.y);
    put(p.y, sum.x * (scale * z0 * sigmoid(z0)), sum.y * (scale * z1 * sigmoid(z1)));
  }
  if constexpr (sides == 2) sync_cluster();  // the other one may still read here
}

size_t shared_bytes(const ScanFwd& p) {
  const int64_t tiles = (p.L + tile - 1) / tile;
  return parts * sizeof(Part) + tiles * ((p.R ? sizeof(Tile<true>) : sizeof(Tile<false>)) +
                                         tile * channels * sizeof(float));
}

}  // namespace

// By sizes alone, so that a layer computed again gives the same bits, with kept states or without.
bool scan_fwd_split_tokens_supports(const ScanFwd& p, const Device& device) {
  return fits(p, device) && device.sm >= 90 && p.B * p.E * p.sides <= most_channels &&
         p.L < 1 << 16 && shared_bytes(p) <= most_shared_bytes(device.sm) &&
         (p.sides == 1 || p.side[0].reverse != p.side[1].reverse);
}

void scan_fwd_split_tokens(const ScanFwd& p, const Launch& l) {
  if (p.B * p.L == 0) return;
  const int blocks_e = p.E / channels;
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim.x = static_cast<unsigned>(p.sides);
  cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = static_cast<unsigned>(p.sides * blocks_e * p.B);
  config.blockDim = 32 * parts;
  config.dynamicSmemBytes = shared_bytes(p);
  config.stream = l.stream;
  config.attrs = &cluster;
  config.numAttrs = 1;
  auto launch = [&](auto kernel) {
    KRAIT_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                          static_cast<int>(config.dynamicSmemBytes)));
    KRAIT_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, p, blocks_e));
  };
  if (p.sides == 2)
    p.R ? launch(scan_fwd<2, true>) : launch(scan_fwd<2, false>);
  else
    p.R ? launch(scan_fwd<1, true>) : launch(scan_fwd<1, false>);
}

}  // namespace krait
