// GPU rows `block_scan`: the threads of a block share the tokens of a channel, as in the official
// kernels of Mamba.
//
// A token turns a state h into a h + b. Two such maps in a row are one again, and that is
// associative, so a prefix scan gives the states of all tokens in log2(threads) rounds:
//   (a1, b1), then (a2, b2)  =  (a1 a2, a2 b1 + b2)
// A thread folds its own neighbouring tokens into one map, CUB scans the maps of the threads, and
// the thread walks its tokens again from where the scan put it. The states are an outer loop.
// The gradient scans twice: up for the states, then down for the adjoint states.
#include <cub/block/block_reduce.cuh>
#include <cub/block/block_scan.cuh>

#include "kernels/common/device/add_slices.cuh"
#include "kernels/common/device/fast_math.cuh"
#include "kernels/selective_scan/formula.cuh"
#include "kernels/selective_scan/rows.h"

namespace krait {
namespace {

constexpr int channels = 2;  // of a block: they share what it reads of B and C
constexpr int items = 4;     // tokens of a thread
constexpr int most_threads = 128;
constexpr int most_states = 64;

struct Map {  // h -> a h + b
  float a, b;
};
__device__ Map then(Map first, Map second) {
  return {first.a * second.a, second.a * first.b + second.b};
}

// What a thread has for each channel of the block: one call of CUB does for all.
struct Maps {
  Map of[channels];
};
struct Then {
  __device__ Maps operator()(const Maps& first, const Maps& second) const {
    Maps r;
#pragma unroll
    for (int c = 0; c < channels; ++c) r.of[c] = then(first.of[c], second.of[c]);
    return r;
  }
};
struct Sums {
  float of[channels];
};
struct Plus {
  __device__ Sums operator()(const Sums& x, const Sums& y) const {
    Sums r;
#pragma unroll
    for (int c = 0; c < channels; ++c) r.of[c] = x.of[c] + y.of[c];
    return r;
  }
};
template <int threads>
using Scan = cub::BlockScan<Maps, threads, cub::BLOCK_SCAN_WARP_SCANS>;
template <int threads>
using Reduce = cub::BlockReduce<Sums, threads>;

// Hands x to the mirror image of this thread. CUB scans upwards only; between two of these it scans
// from the last thread to the first.
template <int threads>
__device__ Maps mirrored(const Maps& x, Maps* place) {
  place[threads - 1 - threadIdx.x] = x;
  __syncthreads();
  return place[threadIdx.x];
}

// A thread's tokens, in the order of the scan.
struct Tokens {
  int64_t first_row;  // of B L rows
  int to_next;        // 1, or -1 on a reversed side
  int count;          // fewer than `items`, or none, behind the end of the sequence
  __device__ int64_t row(int i) const { return first_row + i * to_next; }
};
template <class P, class S>
__device__ Tokens tokens_of(const P& p, const S& s, int64_t b, int step) {
  const int left = static_cast<int>(p.L) - step;
  return {b * p.L + (s.reverse ? left - 1 : step), s.reverse ? -1 : 1, min(max(left, 0), items)};
}

// Column `column` of the rows of the first `count` tokens; zeros for the others.
template <class T>
__device__ void read(const void* from, int64_t row_size, int64_t column, const Tokens& t, int count,
                     float (&to)[items]) {
  const T* first = static_cast<const T*>(from) + t.first_row * row_size + column;
  const int to_next = t.to_next * static_cast<int>(row_size);
#pragma unroll
  for (int i = 0; i < items; ++i) to[i] = i < count ? float(first[i * to_next]) : 0.0f;
}

// a2 = A log2(e) of the block's channels, so that exp(dt A) = 2^(dt a2).
template <class P, class S>
__device__ void load_a2(const P& p, const S& s, int first_e, float (&a2)[channels][most_states]) {
  for (int i = threadIdx.x; i < channels * p.N; i += blockDim.x) {
    const int c = i / p.N, n = i % p.N, e = first_e + c;
    a2[c][n] = e < p.E ? -expf(at<float>(s.A_log, int64_t{e} * p.N + n)) * log2e : 0.0f;
  }
}

// ---- forward

// A block owns `channels` channels of one image, both sides. Sequences of more tokens than it has
// places for take several chunks. `between` (B, L, E) holds the first side's sums in f32.
template <class T, int threads>
__global__ __launch_bounds__(threads) void scan_fwd(ScanFwd p, float* between) {
  __shared__ typename Scan<threads>::TempStorage temp;
  __shared__ float a2[channels][most_states];
  __shared__ float carry[2][channels][most_states];  // state at the start of this chunk, the next
  const int groups = (p.E + channels - 1) / channels;
  const int first_e = blockIdx.x % groups * channels;
  const int64_t b = blockIdx.x / groups;
  const int every = scan_state_every(p.N);
  const int64_t kept = scan_state_count(p.L, p.N);
  for (int k = 0; k < p.sides; ++k) {
    const auto& s = p.side[k];
    T* states = static_cast<T*>(s.states);
    load_a2(p, s, first_e, a2);
    for (int i = threadIdx.x; i < channels * p.N; i += threads) {
      const int c = i / p.N, n = i % p.N;
      carry[0][c][n] = 0;
      if (states && first_e + c < p.E) states[(b * kept * p.E + first_e) * p.N + i] = T(0.0f);
    }
    __syncthreads();  // also: what the first side left in `between` can be read

    int now = 0;  // carry[now] is read, the other written
    for (int start = 0; start < p.L; start += threads * items, now = 1 - now) {
      const int step = start + threadIdx.x * items;
      const Tokens t = tokens_of(p, s, b, step);
      float dt[channels][items], dtu[channels][items], y[channels][items];
#pragma unroll
      for (int c = 0; c < channels; ++c) {
        const int e = first_e + c, count = e < p.E ? t.count : 0;
        const float D = s.D && count ? at<float>(s.D, e) : 0.0f;
        const float bias = s.bias && count ? at<float>(s.bias, e) : 0.0f;
        float x[items], u[items];
        read<T>(s.delta, p.E, e, t, count, x);
        read<T>(s.u, p.E, e, t, count, u);
#pragma unroll
        for (int i = 0; i < items; ++i) {
          dt[c][i] = i < count ? step_size(x[i] + bias, p.softplus) : 0.0f;
          dtu[c][i] = dt[c][i] * u[i];
          y[c][i] = D * u[i];
        }
      }
      // Where the state behind a token is kept, if it is: it is the one before the next.
      int64_t keep[items];
#pragma unroll
      for (int i = 0; i < items; ++i) {
        const int next = step + i + 1;
        const bool due = states && next < p.L && next % every == 0;
        keep[i] = due ? ((b * kept + next / every) * p.E + first_e) * p.N : -1;
      }

#pragma unroll 1  // fewer registers
      for (int n = 0; n < p.N; ++n) {
        float Bm[items], Cm[items], q[channels][items];
        read<T>(s.Bm, s.b_row, n, t, t.count, Bm);
        read<T>(s.Cm, s.c_row, n, t, t.count, Cm);
        Maps own, before, initial;
#pragma unroll
        for (int c = 0; c < channels; ++c) {
          own.of[c] = {1, 0};
#pragma unroll
          for (int i = 0; i < items; ++i) {
            q[c][i] = fast_exp2(dt[c][i] * a2[c][n]);
            own.of[c] = then(own.of[c], {q[c][i], dtu[c][i] * Bm[i]});
          }
          initial.of[c] = {1, carry[now][c][n]};
        }
        Scan<threads>(temp).ExclusiveScan(own, before, initial, Then{});
#pragma unroll
        for (int c = 0; c < channels; ++c) {
          float h = before.of[c].b;
#pragma unroll
          for (int i = 0; i < items; ++i) {
            h = q[c][i] * h + dtu[c][i] * Bm[i];
            y[c][i] += h * Cm[i];
            if (keep[i] >= 0 && first_e + c < p.E) states[keep[i] + c * p.N + n] = T(h);
          }
          if (threadIdx.x == threads - 1) carry[1 - now][c][n] = h;
        }
        __syncthreads();  // before `temp` is used again
      }

#pragma unroll
      for (int c = 0; c < channels; ++c)
#pragma unroll
        for (int i = 0; i < items; ++i) {
          const int e = first_e + c;
          if (e >= p.E || i >= t.count) continue;
          const int64_t row = t.row(i), at_e = row * p.E + e;
          const float sum = y[c][i] + (k > 0 ? between[at_e] : 0.0f);
          if (k + 1 < p.sides) {
            between[at_e] = sum;
          } else {
            if (p.sum) static_cast<T*>(p.sum)[at_e] = T(sum);
            float out = sum * float(p.scale);
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

// Scratch of the backward pass, in floats: dB and dC summed over the channels of each block
// (sides, groups of channels, 2N, B L), then A_log, D and bias gradients of each image
// (sides, B, E (N + 2)).
struct BwdScratch {
  int64_t groups, dbc, params;
  KRAIT_HD explicit BwdScratch(const ScanBwd& p) {
    groups = (p.E + channels - 1) / channels;
    dbc = p.B * p.L * 2 * p.N;
    params = int64_t{p.E} * (p.N + 2);
  }
  KRAIT_HD int64_t dbc_at(int side, int64_t group) const { return (side * groups + group) * dbc; }
  KRAIT_HD int64_t params_at(const ScanBwd& p, int side, int64_t b) const {
    return p.sides * groups * dbc + (side * p.B + b) * params;
  }
  KRAIT_HD int64_t count(const ScanBwd& p) const { return params_at(p, p.sides, 0); }
};

// Block (x, y): `channels` channels of one image, side y. Chunks are taken from the last. The
// adjoint state enters a token as m = q l of the token after it, so
//   l = C g + m,   m -> q m + q C g
// is a map of the same kind, made of the token's own numbers.
template <class T, int threads>
__global__ __launch_bounds__(threads) void scan_bwd(ScanBwd p, float* scratch) {
  __shared__ typename Scan<threads>::TempStorage temp_up, temp_down;
  __shared__ typename Reduce<threads>::TempStorage temp_sum;
  __shared__ Maps there[threads], back[threads];
  __shared__ float a2[channels][most_states], dA[channels][most_states];
  __shared__ float carry[2][channels][most_states];  // m from the chunk after, to the one before
  const auto& s = p.side[blockIdx.y];
  const BwdScratch where(p);
  const int group = blockIdx.x % where.groups, first_e = group * channels;
  const int64_t b = blockIdx.x / where.groups, rows = p.B * p.L;
  const int every = scan_state_every(p.N);
  const int64_t kept = scan_state_count(p.L, p.N);
  load_a2(p, s, first_e, a2);
  for (int i = threadIdx.x; i < channels * p.N; i += threads)
    carry[0][i / p.N][i % p.N] = dA[i / p.N][i % p.N] = 0;
  __syncthreads();

  Sums dD{}, dbias{};
  int now = 0;  // carry[now] is read, the other written
  const int chunk = threads * items, last_start = static_cast<int>((p.L - 1) / chunk) * chunk;
  for (int start = last_start; start >= 0; start -= chunk, now = 1 - now) {
    const Tokens t = tokens_of(p, s, b, start + threadIdx.x * items);
    const int64_t from_state = (b * kept + start / every) * p.E * p.N;
    float dt[channels][items], u[channels][items], g[channels][items];
    float s1[channels][items], s2[channels][items];  // sums over states of l B, l q h a2
#pragma unroll
    for (int c = 0; c < channels; ++c) {
      const int e = first_e + c, count = e < p.E ? t.count : 0;
      const float bias = s.bias && count ? at<float>(s.bias, e) : 0.0f;
      float x[items];
      read<T>(s.delta, p.E, e, t, count, x);
      read<T>(s.u, p.E, e, t, count, u[c]);
      read<T>(p.dy, p.E, e, t, count, g[c]);
#pragma unroll
      for (int i = 0; i < items; ++i) {
        dt[c][i] = i < count ? step_size(x[i] + bias, p.softplus) : 0.0f;
        s1[c][i] = s2[c][i] = 0;
        const float dy = g[c][i] * float(p.scale);
        g[c][i] = dy;
        if (!p.z || i >= count) continue;
        const float z = at<T>(p.z, t.row(i) * p.z_row + e), w = sigmoid(z);
        g[c][i] *= z * w;
        if (p.dz && blockIdx.y == 0)
          put<T>(p.dz, t.row(i) * p.dz_row + e,
                 dy * at<T>(p.sum, t.row(i) * p.E + e) * w * (1.0f + z * (1.0f - w)),
                 p.accumulate_dz);
      }
    }

#pragma unroll 1  // fewer registers
    for (int n = 0; n < p.N; ++n) {
      float Bm[items], Cm[items], q[channels][items];
      read<T>(s.Bm, s.b_row, n, t, t.count, Bm);
      read<T>(s.Cm, s.c_row, n, t, t.count, Cm);
      Maps up, down, initial_up, initial_down;
#pragma unroll
      for (int c = 0; c < channels; ++c) {
        up.of[c] = down.of[c] = {1, 0};
#pragma unroll
        for (int i = 0; i < items; ++i) {
          q[c][i] = fast_exp2(dt[c][i] * a2[c][n]);
          up.of[c] = then(up.of[c], {q[c][i], dt[c][i] * u[c][i] * Bm[i]});
        }
#pragma unroll
        for (int i = items - 1; i >= 0; --i)
          down.of[c] = then(down.of[c], {q[c][i], q[c][i] * Cm[i] * g[c][i]});
        const int e = first_e + c;
        initial_up.of[c] = {
            1, start > 0 && e < p.E ? at<T>(s.states, from_state + int64_t{e} * p.N + n) : 0.0f};
        initial_down.of[c] = {1, carry[now][c][n]};
      }
      Scan<threads>(temp_up).ExclusiveScan(up, up, initial_up, Then{});
      down = mirrored<threads>(down, there);
      Scan<threads>(temp_down).ExclusiveScan(down, down, initial_down, Then{});
      down = mirrored<threads>(down, back);

      float dB[items] = {}, dC[items] = {};
      Sums da{};
#pragma unroll
      for (int c = 0; c < channels; ++c) {
        float h = up.of[c].b, carried[items];
#pragma unroll
        for (int i = 0; i < items; ++i) {
          carried[i] = q[c][i] * h;
          h = carried[i] + dt[c][i] * u[c][i] * Bm[i];
          dC[i] += g[c][i] * h;
        }
        float m = down.of[c].b;
#pragma unroll
        for (int i = items - 1; i >= 0; --i) {
          const float l = Cm[i] * g[c][i] + m, lc = l * carried[i];
          dB[i] += l * (dt[c][i] * u[c][i]);
          s1[c][i] += l * Bm[i];
          s2[c][i] += lc * a2[c][n];
          da.of[c] += lc * dt[c][i];
          m = q[c][i] * l;
        }
        if (threadIdx.x == 0) carry[1 - now][c][n] = m;
      }
      float* to = scratch + where.dbc_at(blockIdx.y, group) + n * rows + t.first_row;
#pragma unroll
      for (int i = 0; i < items; ++i) {
        if (i >= t.count) continue;
        to[i * t.to_next] = dB[i];
        to[p.N * rows + i * t.to_next] = dC[i];
      }
      da = Reduce<threads>(temp_sum).Reduce(da, Plus{});
#pragma unroll
      for (int c = 0; c < channels; ++c)
        if (threadIdx.x == 0) dA[c][n] += da.of[c];
      __syncthreads();  // before the next state uses the shared memory
    }

#pragma unroll
    for (int c = 0; c < channels; ++c) {
      const int e = first_e + c, count = e < p.E ? t.count : 0;
      const float D = s.D && count ? at<float>(s.D, e) : 0.0f;
      const float bias = s.bias && count ? at<float>(s.bias, e) : 0.0f;
#pragma unroll
      for (int i = 0; i < items; ++i) {
        if (i >= count) continue;
        const int64_t at_e = t.row(i) * p.E + e;
        const float x = at<T>(s.delta, at_e) + bias;
        const float slope = p.softplus && x <= 20.0f ? 1.0f / (1.0f + expf(-x)) : 1.0f;
        const float ddelta = (u[c][i] * s1[c][i] + s2[c][i] * ln2) * slope;
        dD.of[c] += g[c][i] * u[c][i];
        dbias.of[c] += ddelta;
        if (s.du) put<T>(s.du, at_e, D * g[c][i] + dt[c][i] * s1[c][i], s.accumulate_du);
        if (s.ddelta) put<T>(s.ddelta, at_e, ddelta, s.accumulate_ddelta);
      }
    }
  }

  // Thread 0 has the sums over tokens.
  dD = Reduce<threads>(temp_sum).Reduce(dD, Plus{});
  __syncthreads();
  dbias = Reduce<threads>(temp_sum).Reduce(dbias, Plus{});
  if (threadIdx.x > 0) return;
  float* to = scratch + where.params_at(p, blockIdx.y, b);
  for (int c = 0; c < channels && first_e + c < p.E; ++c) {
    const int64_t e = first_e + c;
    for (int n = 0; n < p.N; ++n) to[e * p.N + n] = dA[c][n] * (a2[c][n] * ln2);  // dA_log = dA * A
    to[int64_t{p.E} * p.N + e] = dD.of[c];
    to[int64_t{p.E} * (p.N + 1) + e] = dbias.of[c];
  }
}

// Adds the blocks' dB and dC in order; a thread owns one number of one token.
template <class T>
__global__ void add_dbc(ScanBwd p, const float* scratch) {
  const auto& s = p.side[blockIdx.y];
  const BwdScratch where(p);
  const int64_t rows = p.B * p.L;
  KRAIT_GRID_STRIDE(i, where.dbc) {
    float sum = 0;
    for (int64_t group = 0; group < where.groups; ++group)
      sum += scratch[where.dbc_at(blockIdx.y, group) + i];
    const int64_t row = i % rows, n = i / rows;
    if (n < p.N) {
      if (s.dBm) put<T>(s.dBm, row * s.db_row + n, sum, s.accumulate_dBm);
    } else if (s.dCm) {
      put<T>(s.dCm, row * s.dc_row + n - p.N, sum, s.accumulate_dCm);
    }
  }
}

// ---- launches

// As few threads as have places for all tokens, in whole warps.
template <class F>
void with_threads(int64_t L, F&& f) {
  if (L <= 32 * items) return f.template operator()<32>();
  if (L <= 64 * items) return f.template operator()<64>();
  f.template operator()<most_threads>();
}

template <class P>
int64_t blocks_of(const P& p) {
  return (p.E + channels - 1) / channels * p.B;
}
template <class P>
bool fits(const P& p) {
  return (p.dtype == DType::f32 || p.dtype == DType::bf16) && p.N <= most_states &&
         p.L < int64_t{1} << 30 && blocks_of(p) < int64_t{1} << 31;
}

}  // namespace

bool scan_fwd_block_scan_supports(const ScanFwd& p, const Device&) {
  return p.R == 0 && fits(p);
}

size_t scan_fwd_block_scan_scratch(const ScanFwd& p) {
  return p.sides == 2 ? p.B * p.L * p.E * sizeof(float) : 0;
}

void scan_fwd_block_scan(const ScanFwd& p, const Launch& l) {
  if (p.B * p.L == 0) return;
  const auto blocks = static_cast<unsigned>(blocks_of(p));
  dispatch_gpu(p.dtype, [&]<class T>() {
    with_threads(p.L, [&]<int threads>() {
      scan_fwd<T, threads><<<blocks, threads, 0, l.stream>>>(p, static_cast<float*>(l.scratch));
    });
  });
}

// A sequence of several chunks starts them from kept states.
bool scan_bwd_block_scan_supports(const ScanBwd& p, const Device&) {
  bool states = true;
  for (int k = 0; k < p.sides; ++k) states = states && p.side[k].states;
  return p.R == 0 && fits(p) && (states || p.L <= most_threads * items);
}

size_t scan_bwd_block_scan_scratch(const ScanBwd& p) {
  return BwdScratch(p).count(p) * sizeof(float);
}

void scan_bwd_block_scan(const ScanBwd& p, const Launch& l) {
  if (p.B * p.L == 0) return;
  const BwdScratch where(p);
  auto scratch = static_cast<float*>(l.scratch);
  const auto sides = static_cast<unsigned>(p.sides);
  const dim3 grid(static_cast<unsigned>(blocks_of(p)), sides);
  dispatch_gpu(p.dtype, [&]<class T>() {
    with_threads(p.L, [&]<int threads>() {
      scan_bwd<T, threads><<<grid, threads, 0, l.stream>>>(p, scratch);
    });
    add_dbc<T><<<dim3(blocks_for(where.dbc, 256), sides), 256, 0, l.stream>>>(p, scratch);
  });
  // The images' parameter gradients, in order.
  const int64_t EN = int64_t{p.E} * p.N;
  for (int k = 0; k < p.sides; ++k) {
    const float* part = scratch + where.params_at(p, k, 0);
    auto add = [&](int64_t from, int64_t n, void* sum) {
      if (sum) add_slices(part + from, where.params, p.B, n, static_cast<float*>(sum), l.stream);
    };
    add(0, EN, p.side[k].dA_log);
    add(EN, p.E, p.side[k].dD);
    add(EN + p.E, p.E, p.side[k].dbias);
  }
}

}  // namespace krait
