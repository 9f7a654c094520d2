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
// With more channels, of all images and sides, its second walk costs more than it saves: for four
// images of width 384 it is 20 % ahead of split_states with 196 tokens, 24 % behind with 64.
constexpr int64_t most_channels = 2 * 2 * 384;

template <bool project>
struct Tile {
  // As they arrive: u and delta in bf16, pairs of B and C, the pairs of dt that each lane
  // multiplies.
  uint16_t rows[project ? 1 : 2][tile][channels];
  uint32_t bc[tile][N];
  std::conditional_t<project, uint32_t[2], char> dt[32];
  Ready ready;
};
struct Part {  // the state behind it is Q h + r
  float4 Q[channels][4], r[channels][4];
};

// Shared memory: `parts` x Part, tiles x Tile, then tiles x 8 rows of 8 sums, one for each token.
template <int sides, bool project>
__global__ __launch_bounds__(32 * parts, 1) void scan_fwd(ScanFwd p, int blocks_e) {
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
  const int first = part * tiles / parts, end = (part + 1) * tiles / parts;  // tiles
  const int forward = s.reverse ? -1 : 1;
  const int start = s.reverse ? L - 1 - first * tile : first * tile;  // the part's first token
  Channel of = load_channel<project>(p, s, e, q);

  // What a lane copies of a tile: a row of u or delta, a pair of B or C of every second token, two
  // pairs of dt. The addresses move on from tile to tile. Tokens behind the last are zeros.
  const int which = lane / tile, row_token = lane % tile, bc_token = lane / 16, pair = lane % 16;
  {
    const int64_t token = b * L + start, row = int64_t{forward} * p.E, dt_row = forward * s.dt_row;
    const int64_t bc_row = forward * (pair < N / 2 ? s.b_row : s.c_row);
    const bool has_dt[2] = {2 * q < p.R, 2 * q + 8 < p.R};
    const bf16* row_at = static_cast<const bf16*>(which == 0 ? s.u : s.delta) + token * p.E +
                         row_token * row + first_channel;
    const bf16* bc_at = bc_pair(s, token, pair) + bc_token * bc_row;
    const bf16* dt_at = static_cast<const bf16*>(s.dt) + token * s.dt_row + c * dt_row + 2 * q;
    for (int i = first; i < end; ++i) {
      auto& to = all_tiles[i];
      const int left = L - i * tile;
      if (which < (project ? 1 : 2))
        async_copy_16(to.rows[which][row_token], row_at, row_token < left);
#pragma unroll
      for (int j = 0; j < tile; j += 2)
        async_copy_4(&to.bc[j + bc_token][pair], bc_at + j * bc_row, j + bc_token < left);
      if constexpr (project)  // of token c
#pragma unroll
        for (int n = 0; n < 2; ++n)
          async_copy_4(&to.dt[lane][n], dt_at + 8 * n, c < left && has_dt[n]);
      row_at += tile * row, bc_at += tile * bc_row, dt_at += tile * dt_row;
    }
  }
  wait_for_async_copies();
  of.finish();
  __syncwarp();

  // What a tile's recurrence reads, all tiles of the part. Reads before writes: no write needs to
  // be waited for.
  float total_dt = 0;
  for (int i = first; i < end; ++i) {
    auto& t = all_tiles[i];
    uint32_t bc[tile / 2], dt[2] = {0, 0};
    float u[2], x[4] = {0, 0, 0, 0}, dtu[2];
#pragma unroll
    for (int n = 0; n < tile / 2; ++n) bc[n] = t.bc[bc_token + 2 * n][pair];
    if constexpr (project) dt[0] = t.dt[lane][0], dt[1] = t.dt[lane][1];
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      u[n] = first_of(t.rows[0][2 * q + n][c]);
      if constexpr (!project) x[n] = first_of(t.rows[1][2 * q + n][c]);
    }
    // W (8 channels x R) times dt (R x 8 tokens): the lane gets its own two tokens.
    if constexpr (project) multiply_add(x, of.w[0], 0, of.w[1], 0, dt[0], dt[1]);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      x[n] = softplus_log2(fmaf(x[n], log2e, of.bias));
      dtu[n] = x[n] * (ln2 * u[n]);
      total_dt += x[n];
    }
#pragma unroll
    for (int n = 0; n < tile / 2; ++n)
      *reinterpret_cast<float2*>(&t.ready.bc[bc_token + 2 * n][2 * pair]) = {first_of(bc[n]),
                                                                             second_of(bc[n])};
    t.ready.dt[q][c ^ 2 * q] = {x[0], dtu[0], x[1], dtu[1]};
  }
  __syncwarp();

  float h[4] = {0, 0, 0, 0}, y[tile];
  if (part < parts - 1) {
    for (int i = first; i < end; ++i) walk<false>(h, y, all_tiles[i].ready, of, c, q);
    total_dt += __shfl_xor_sync(~0u, total_dt, 1);
    total_dt += __shfl_xor_sync(~0u, total_dt, 2);
    all_parts[part].r[c][q] = {h[0], h[1], h[2], h[3]};
    all_parts[part].Q[c][q] = {fast_exp2(total_dt * of.A[0]), fast_exp2(total_dt * of.A[1]),
                               fast_exp2(total_dt * of.A[2]), fast_exp2(total_dt * of.A[3])};
  }
  __syncthreads();
#pragma unroll
  for (int m = 0; m < 4; ++m) h[m] = 0;
#pragma unroll
  for (int i = 0; i < parts - 1; ++i) {
    if (i >= part) break;
    const float4 Q = all_parts[i].Q[c][q], r = all_parts[i].r[c][q];
    h[0] = fmaf(Q.x, h[0], r.x), h[1] = fmaf(Q.y, h[1], r.y);
    h[2] = fmaf(Q.z, h[2], r.z), h[3] = fmaf(Q.w, h[3], r.w);
  }

  uint2* states = nullptr;
  if (s.states)
    states = static_cast<uint2*>(s.states) + ((b * tiles + first) * p.E + e) * (N / 4) + q;
  float* out = sums + (start + forward * 2 * q) * channels + c;  // of the lane's first token
  int left = L - first * tile - 2 * q;                           // tokens, from that one on
  for (int i = first; i < end; ++i) {
    if (states) {
      *states = {bf16_pair(h[0], h[1]), bf16_pair(h[2], h[3])};
      states += p.E * (N / 4);
    }
    float u[2];
#pragma unroll
    for (int n = 0; n < 2; ++n) u[n] = first_of(all_tiles[i].rows[0][2 * q + n][c]);
    walk(h, y, all_tiles[i].ready, of, c, q);
    share_out(y, q);
#pragma unroll
    for (int n = 0; n < 2; ++n)
      if (n < left) out[n * forward * channels] = fmaf(of.D, u[n], y[n]);
    out += tile * forward * channels, left -= tile;
  }

  // The gate: a thread has four channels of every 128th token of its block's half, and its z on the
  // way while it waits for the sums of all tokens.
  constexpr int stride = 16 * parts;
  int t = (k == 1 ? L / 2 : 0) + threadIdx.x / 2;
  const int until = sides == 1 || k == 1 ? L : L / 2, four = threadIdx.x % 2 * 4;
  const auto scale = static_cast<float>(p.scale);
  auto z_at = [&] {
    return reinterpret_cast<const uint2*>(static_cast<const bf16*>(p.z) + (b * L + t) * p.z_row +
                                          first_channel + four);
  };
  uint2 z = {0, 0};
  if (t < until) z = *z_at();
  const float* others = nullptr;
  if constexpr (sides == 2) {
    sync_cluster();
    others = in_cluster(sums, 1 - k);
  } else {
    __syncthreads();
  }
  for (; t < until; t += stride, z = t < until ? *z_at() : z) {
    float4 sum = *reinterpret_cast<const float4*>(sums + t * channels + four);
    if constexpr (sides == 2) {
      const float4 other = *reinterpret_cast<const float4*>(others + t * channels + four);
      sum.x += other.x, sum.y += other.y, sum.z += other.z, sum.w += other.w;
    }
    auto put = [&](void* to, const float4& v) {
      *reinterpret_cast<uint2*>(static_cast<bf16*>(to) + (b * L + t) * p.E + first_channel +
                                four) = {bf16_pair(v.x, v.y), bf16_pair(v.z, v.w)};
    };
    if (p.sum) put(p.sum, sum);
    auto gated = [&](float v, float z) { return v * (scale * z * sigmoid(z)); };
    put(p.y, {gated(sum.x, first_of(z.x)), gated(sum.y, second_of(z.x)),
              gated(sum.z, first_of(z.y)), gated(sum.w, second_of(z.y))});
  }
  if constexpr (sides == 2) leave_cluster();
}

// Code for an older GPU, made ready for this one by its driver, has none.
bool has_clusters() {
  for (const int built_for : {__CUDA_ARCH_LIST__})
    if (built_for >= 900) return true;
  return false;
}

size_t shared_bytes(const ScanFwd& p) {
  const int64_t tiles = (p.L + tile - 1) / tile;
  return parts * sizeof(Part) + tiles * ((p.R ? sizeof(Tile<true>) : sizeof(Tile<false>)) +
                                         tile * channels * sizeof(float));
}

}  // namespace

// By sizes alone, so that a layer computed again gives the same bits, with kept states or without.
bool scan_fwd_split_tokens_supports(const ScanFwd& p, const Device& device) {
  return fits(p, device) && on_multiples(8, {p.y}) && device.sm >= 90 && has_clusters() &&
         p.B * p.E * p.sides <= most_channels && shared_bytes(p) <= most_shared_bytes(device.sm);
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
