// GPU rows: one thread owns one channel of one image and walks the tokens in order, with the N
// states in registers. B and C of a tile of tokens stand in shared memory, read by all channels.
//
// The backward pass walks the same tokens in reverse, in chunks whose states it re-makes in
// registers from the one that the forward pass kept. The sums over channels (dB, dC) are taken in a
// fixed order: over a warp by an exchange in which every lane ends with one sum, over the warps of
// a block through shared memory, over blocks by a second kernel. No atomics.
#include "kernels/common/device/dispatch.cuh"
#include "kernels/common/device/fast_math.cuh"
#include "kernels/selective_scan/formula.cuh"
#include "kernels/selective_scan/rows.h"

namespace krait {
namespace {

// Reads B and C of `count` tokens, in the order of the scan from step `from`, into (count, 2 NP).
template <class T, int NP, class P, class S>
__device__ void load_tile(const P& p, const S& s, int64_t b, int64_t from, int count, float* tile) {
  for (int i = threadIdx.x; i < count * 2 * NP; i += blockDim.x) {
    const int n = i % (2 * NP);
    const int64_t step = from + i / (2 * NP), t = s.reverse ? p.L - 1 - step : step;
    const int64_t row = b * p.L + t;
    float v = 0;
    if (n < NP) {
      if (n < p.N) v = at<T>(s.Bm, row * s.b_row + n);
    } else if (n - NP < p.N) {
      v = at<T>(s.Cm, row * s.c_row + n - NP);
    }
    tile[i] = v;
  }
}

template <int NP>
__device__ void load_a2(const void* A_log, int e, int N, bool active, float (&a2)[NP]) {
#pragma unroll
  for (int n = 0; n < NP; ++n)
    a2[n] = active && n < N ? -expf(at<float>(A_log, int64_t{e} * N + n)) * log2e : 0.0f;
}

// ---- forward

constexpr int fwd_threads = 128;
constexpr int fwd_tile = 32;  // tokens

// Block (x, y): channels [128 x, 128 x + 128) of image y; a thread owns one channel and both sides.
// `between` (B, L, E) holds the first side's sums in f32 until the second adds its own; the same
// thread writes and reads them.
template <class T, int NP>
__global__ __launch_bounds__(fwd_threads) void scan_fwd(ScanFwd p, float* between) {
  __shared__ float tile[fwd_tile * 2 * NP];
  const int e = blockIdx.x * fwd_threads + threadIdx.x;
  const int64_t b = blockIdx.y;
  const bool active = e < p.E;
  const int every = scan_state_every(p.N);
  const int64_t kept = scan_state_count(p.L, p.N);
  for (int k = 0; k < p.sides; ++k) {
    const auto& s = p.side[k];
    const bool last = k == p.sides - 1;
    float a2[NP], h[NP];
    load_a2<NP>(s.A_log, e, p.N, active, a2);
#pragma unroll
    for (int n = 0; n < NP; ++n) h[n] = 0;
    const float D = s.D && active ? at<float>(s.D, e) : 0.0f;
    const float bias = s.bias && active ? at<float>(s.bias, e) : 0.0f;
    for (int64_t from = 0; from < p.L; from += fwd_tile) {
      const int count = p.L - from < fwd_tile ? int(p.L - from) : fwd_tile;
      __syncthreads();
      load_tile<T, NP>(p, s, b, from, count, tile);
      __syncthreads();
      if (!active) continue;
      for (int i = 0; i < count; ++i) {
        const int64_t step = from + i, t = s.reverse ? p.L - 1 - step : step;
        const int64_t row = b * p.L + t, at_e = row * p.E + e;
        if (s.states && step % every == 0) {
          T* to = static_cast<T*>(s.states) + ((b * kept + step / every) * p.E + e) * p.N;
#pragma unroll
          for (int n = 0; n < NP; ++n)
            if (n < p.N) to[n] = T(h[n]);
        }
        const float dt = step_size(at<T>(s.delta, at_e) + bias, p.softplus);
        const float u = at<T>(s.u, at_e), du = dt * u;
        const float* Bm = tile + i * 2 * NP;
        float y = D * u, y2 = 0;
#pragma unroll
        for (int n = 0; n < NP; ++n) {
          h[n] = fast_exp2(dt * a2[n]) * h[n] + du * Bm[n];
          (n % 2 ? y2 : y) += h[n] * Bm[NP + n];
        }
        y += y2;
        if (k > 0) y += between[at_e];
        if (!last) {
          between[at_e] = y;
        } else {
          if (p.sum) static_cast<T*>(p.sum)[at_e] = T(y);
          float out = y * float(p.scale);
          if (p.z) {
            const float z = at<T>(p.z, row * p.z_row + e);
            out *= z * sigmoid(z);
          }
          static_cast<T*>(p.y)[at_e] = T(out);
        }
      }
    }
  }
}

// ---- backward

constexpr int bwd_threads = 64;
constexpr int bwd_warps = bwd_threads / 32;

// Sums each of 2 H values over groups of 2 H lanes; lane i ends with the sum of v[i] in v[0]. A
// lane hands half of the values it still has to the lane H away and takes the other half: for a
// warp 31 exchanges, not 160.
template <int H>
__device__ __forceinline__ void sum_and_scatter(float (&v)[32]) {
  const bool upper = threadIdx.x & H;
#pragma unroll
  for (int i = 0; i < H; ++i) {
    const float keep = upper ? v[i + H] : v[i], give = upper ? v[i] : v[i + H];
    v[i] = keep + __shfl_xor_sync(0xFFFFFFFFu, give, H);
  }
  if constexpr (H > 1) sum_and_scatter<H / 2>(v);
}

// Scratch of the backward pass, in floats: dB and dC summed over the channels of each block
// (sides, blocks of channels, B, L, 2N), then A_log, D and bias gradients of each image
// (sides, B, E (N + 2)).
struct BwdScratch {
  int64_t blocks, dbc, params;
  KRAIT_HD explicit BwdScratch(const ScanBwd& p) {
    blocks = (p.E + bwd_threads - 1) / bwd_threads;
    dbc = p.B * p.L * 2 * p.N;
    params = int64_t{p.E} * (p.N + 2);
  }
  KRAIT_HD int64_t dbc_at(int side, int64_t block) const { return (side * blocks + block) * dbc; }
  KRAIT_HD int64_t params_at(const ScanBwd& p, int side, int64_t b) const {
    return p.sides * blocks * dbc + (side * p.B + b) * params;
  }
  KRAIT_HD int64_t count(const ScanBwd& p) const { return p.sides * (blocks * dbc + p.B * params); }
};

// Block (x, y, z): channels [64 x, 64 x + 64) of image y, side z; a thread owns one channel. K
// steps are between kept states; a thread re-makes the states of M of them at a time.
template <class T, int NP, int K, int M>
__global__ __launch_bounds__(bwd_threads) void scan_bwd(ScanBwd p, float* scratch) {
  constexpr int values = 2 * NP < 32 ? 32 : 2 * NP;  // dB and dC of a token, in groups of 32
  __shared__ float tile[K * 2 * NP];                 // B and C since the kept state
  __shared__ float warp_sums[M][bwd_warps][values];
  const auto& s = p.side[blockIdx.z];
  const BwdScratch where(p);
  const int e = blockIdx.x * bwd_threads + threadIdx.x;
  const int64_t b = blockIdx.y;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const bool active = e < p.E;
  const int64_t kept = scan_state_count(p.L, p.N);
  float a2[NP], lam[NP], dA[NP];  // lam: the adjoint state, carried from the step after
  load_a2<NP>(s.A_log, e, p.N, active, a2);
#pragma unroll
  for (int n = 0; n < NP; ++n) lam[n] = dA[n] = 0;
  const float D = s.D && active ? at<float>(s.D, e) : 0.0f;
  const float bias = s.bias && active ? at<float>(s.bias, e) : 0.0f;
  float dD = 0, dbias = 0;

  for (int64_t from = (p.L - 1) / M * M; from >= 0; from -= M) {
    const int count = p.L - from < M ? int(p.L - from) : M;
    const int64_t chunk = from / K, kept_at = chunk * K;
    const int before = int(from - kept_at);  // steps from the kept state to this chunk
    __syncthreads();
    load_tile<T, NP>(p, s, b, kept_at, before + count, tile);
    __syncthreads();

    // The inputs of the chunk's tokens, and the state before each of them.
    float h[M][NP], x[M], u[M];
    {
      const T* from_state = static_cast<const T*>(s.states) + ((b * kept + chunk) * p.E + e) * p.N;
#pragma unroll
      for (int n = 0; n < NP; ++n) h[0][n] = active && n < p.N ? float(from_state[n]) : 0.0f;
    }
    for (int k = 0; k < before; ++k) {
      if (!active) continue;
      const int64_t t = s.reverse ? p.L - 1 - (kept_at + k) : kept_at + k;
      const int64_t at_e = (b * p.L + t) * p.E + e;
      const float dt = step_size(at<T>(s.delta, at_e) + bias, p.softplus);
      const float du = dt * at<T>(s.u, at_e);
#pragma unroll
      for (int n = 0; n < NP; ++n)
        h[0][n] = fast_exp2(dt * a2[n]) * h[0][n] + du * tile[k * 2 * NP + n];
    }
#pragma unroll
    for (int k = 0; k < M; ++k) {
      x[k] = u[k] = 0;
      if (k < count && active) {
        const int64_t t = s.reverse ? p.L - 1 - (from + k) : from + k;
        const int64_t at_e = (b * p.L + t) * p.E + e;
        x[k] = at<T>(s.delta, at_e) + bias;
        u[k] = at<T>(s.u, at_e);
      }
    }
#pragma unroll
    for (int k = 0; k + 1 < M; ++k) {
      const float dt = step_size(x[k], p.softplus), du = dt * u[k];
      const float* Bm = tile + (before + k) * 2 * NP;
#pragma unroll
      for (int n = 0; n < NP; ++n) h[k + 1][n] = fast_exp2(dt * a2[n]) * h[k][n] + du * Bm[n];
    }

#pragma unroll
    for (int k = M - 1; k >= 0; --k) {
      if (k >= count) continue;  // the same for the whole block
      const int64_t t = s.reverse ? p.L - 1 - (from + k) : from + k;
      const int64_t row = b * p.L + t, at_e = row * p.E + e;
      float g = 0, z = 0, dy = 0;
      if (active) {
        dy = at<T>(p.dy, at_e) * float(p.scale);
        g = dy;
        if (p.z) {
          z = at<T>(p.z, row * p.z_row + e);
          g *= z * sigmoid(z);
        }
      }
      const float dt = step_size(x[k], p.softplus), dtu = dt * u[k];
      const float* Bm = tile + (before + k) * 2 * NP;
      float s1 = 0, s2 = 0;
      float v[values];
#pragma unroll
      for (int i = 0; i < values; ++i) v[i] = 0;
#pragma unroll
      for (int n = 0; n < NP; ++n) {
        const float decay = fast_exp2(dt * a2[n]), carried = decay * h[k][n];
        const float l = lam[n] + g * Bm[NP + n];
        const float lc = l * carried;
        v[n] = l * dtu;                           // dB
        v[NP + n] = g * (carried + dtu * Bm[n]);  // dC
        s1 += l * Bm[n];
        s2 += lc * a2[n];
        dA[n] += lc * dt;
        lam[n] = l * decay;
      }
      if (active) {
        const float slope = p.softplus && x[k] <= 20.0f ? 1.0f / (1.0f + expf(-x[k])) : 1.0f;
        const float ddelta = (u[k] * s1 + s2 * ln2) * slope;
        dD += g * u[k];
        dbias += ddelta;
        if (s.du) put<T>(s.du, at_e, D * g + dt * s1, s.accumulate_du);
        if (s.ddelta) put<T>(s.ddelta, at_e, ddelta, s.accumulate_ddelta);
        if (p.dz && blockIdx.z == 0) {
          const float q = sigmoid(z);
          put<T>(p.dz, row * p.dz_row + e, dy * at<T>(p.sum, at_e) * q * (1.0f + z * (1.0f - q)),
                 p.accumulate_dz);
        }
      }
#pragma unroll
      for (int group = 0; group < values / 32; ++group) {
        float w[32];
#pragma unroll
        for (int i = 0; i < 32; ++i) w[i] = v[group * 32 + i];
        sum_and_scatter<16>(w);
        warp_sums[k][warp][group * 32 + lane] = w[0];
      }
    }
    __syncthreads();
    float* to = scratch + where.dbc_at(blockIdx.z, blockIdx.x);
    for (int i = threadIdx.x; i < count * 2 * p.N; i += bwd_threads) {
      const int k = i / (2 * p.N), n = i % (2 * p.N);
      const int value = n < p.N ? n : NP + n - p.N;
      const int64_t t = s.reverse ? p.L - 1 - (from + k) : from + k;
      float sum = 0;
      for (int w = 0; w < bwd_warps; ++w) sum += warp_sums[k][w][value];
      to[(b * p.L + t) * 2 * p.N + n] = sum;
    }
  }

  if (!active) return;
  float* to = scratch + where.params_at(p, blockIdx.z, b);
#pragma unroll
  for (int n = 0; n < NP; ++n)
    if (n < p.N) to[int64_t{e} * p.N + n] = dA[n] * (a2[n] * ln2);  // dA_log = dA * A
  to[int64_t{p.E} * p.N + e] = dD;
  to[int64_t{p.E} * (p.N + 1) + e] = dbias;
}

// Adds the blocks' dB and dC in order; a thread owns one number of one token.
template <class T>
__global__ void add_dbc(ScanBwd p, const float* scratch) {
  const auto& s = p.side[blockIdx.y];
  const BwdScratch where(p);
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= where.dbc) return;
  float sum = 0;
  for (int64_t block = 0; block < where.blocks; ++block)
    sum += scratch[where.dbc_at(blockIdx.y, block) + i];
  const int64_t row = i / (2 * p.N);
  const int n = static_cast<int>(i % (2 * p.N));
  if (n < p.N) {
    if (s.dBm) put<T>(s.dBm, row * s.db_row + n, sum, s.accumulate_dBm);
  } else if (s.dCm) {
    put<T>(s.dCm, row * s.dc_row + n - p.N, sum, s.accumulate_dCm);
  }
}

// Adds the images' parameter gradients in order: a warp row of 32 threads owns one slice of the
// images for 32 parameters, then the slices are added.
constexpr int param_slices = 8;
__global__ void add_params(ScanBwd p, const float* scratch) {
  __shared__ float part[param_slices][32];
  const auto& s = p.side[blockIdx.y];
  const BwdScratch where(p);
  const int64_t i = int64_t{blockIdx.x} * 32 + threadIdx.x;
  float sum = 0;
  if (i < where.params)
    for (int64_t b = threadIdx.y; b < p.B; b += param_slices)
      sum += scratch[where.params_at(p, blockIdx.y, b) + i];
  part[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || i >= where.params) return;
  sum = 0;
  for (int k = 0; k < param_slices; ++k) sum += part[k][threadIdx.x];
  const int64_t EN = int64_t{p.E} * p.N;
  float* to = static_cast<float*>(i < EN ? s.dA_log : i < EN + p.E ? s.dD : s.dbias);
  if (to) to[i < EN ? i : (i - EN) % p.E] += sum;
}

// Rounds the number of states up to one the kernels are compiled for.
template <class F>
void with_states(int N, F&& f) {
  KRAIT_CHECK(N >= 1 && N <= 64, "selective_scan: ", N, " states (1 to 64 are possible)");
  if (N <= 4) return f.template operator()<4>();
  if (N <= 8) return f.template operator()<8>();
  if (N <= 16) return f.template operator()<16>();
  if (N <= 32) return f.template operator()<32>();
  f.template operator()<64>();
}

}  // namespace

constexpr int64_t most_images = 65535;  // where gridDim.y ends

bool scan_fwd_thread_per_channel_supports(const ScanFwd& p, const Device&) {
  return p.R == 0;
}
bool scan_bwd_thread_per_channel_supports(const ScanBwd& p, const Device&) {
  return p.R == 0 && p.B <= most_images;
}

size_t scan_fwd_thread_per_channel_scratch(const ScanFwd& p) {
  const int64_t images = p.B < most_images ? p.B : most_images;
  return p.sides == 2 ? images * p.L * p.E * sizeof(float) : 0;
}

void scan_fwd_thread_per_channel(const ScanFwd& p, const Launch& l) {
  if (p.B * p.L == 0) return;
  dispatch_gpu(p.dtype, [&]<class T>() {
    with_states(p.N, [&]<int NP>() {
      for (int64_t b = 0; b < p.B; b += most_images) {  // several launches for larger batches
        ScanFwd q = p;
        q.B = p.B - b < most_images ? p.B - b : most_images;
        const int64_t n = b * p.L, kept = b * scan_state_count(p.L, p.N) * p.E * p.N;
        auto skip = [](auto* ptr, int64_t count) {
          return ptr ? const_cast<T*>(static_cast<const T*>(ptr)) + count : nullptr;
        };
        for (auto& s : q.side) {
          s.u = skip(s.u, n * p.E), s.delta = skip(s.delta, n * p.E);
          s.Bm = skip(s.Bm, n * s.b_row), s.Cm = skip(s.Cm, n * s.c_row);
          s.states = skip(s.states, kept);
        }
        q.z = skip(q.z, n * p.z_row), q.sum = skip(q.sum, n * p.E), q.y = skip(q.y, n * p.E);
        scan_fwd<T, NP>
            <<<dim3(blocks_for(p.E, fwd_threads), unsigned(q.B)), fwd_threads, 0, l.stream>>>(
                q, static_cast<float*>(l.scratch));
      }
    });
  });
}

size_t scan_bwd_thread_per_channel_scratch(const ScanBwd& p) {
  return BwdScratch(p).count(p) * sizeof(float);
}

void scan_bwd_thread_per_channel(const ScanBwd& p, const Launch& l) {
  if (p.B * p.L == 0) return;
  const BwdScratch where(p);
  float* scratch = static_cast<float*>(l.scratch);
  const dim3 grid(static_cast<unsigned>(where.blocks), static_cast<unsigned>(p.B),
                  static_cast<unsigned>(p.sides));
  dispatch_gpu(p.dtype, [&]<class T>() {
    with_states(p.N, [&]<int NP>() {
      constexpr int K = scan_state_every(NP), M = K < 4 ? K : 4;
      scan_bwd<T, NP, K, M><<<grid, bwd_threads, 0, l.stream>>>(p, scratch);
    });
    add_dbc<T>
        <<<dim3(blocks_for(where.dbc, 256), unsigned(p.sides)), 256, 0, l.stream>>>(p, scratch);
  });
  add_params<<<dim3(blocks_for(where.params, 32), unsigned(p.sides)), dim3(32, param_slices), 0,
               l.stream>>>(p, scratch);
}

}  // namespace krait
