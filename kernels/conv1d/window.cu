// GPU rows. A thread owns one channel (bf16: two neighbouring ones) of a run of tokens, and holds
// the run with K - 1 tokens either side, the window, in registers: that is all both directions
// need, so x is read once. All loads of a window are independent of each other.
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "kernels/conv1d/sides.cuh"

namespace krait {
namespace {

// Tokens of a thread: it reads a window of run + 2 (K-1), mostly from cache; backward also computes
// K - 1 tokens twice.
constexpr int fwd_run = 8, bwd_run = 8;
constexpr int lanes = 64;       // threads of a block side by side, on neighbouring channels
constexpr int block_runs = 4;   // runs of a block, mostly of one image: their windows overlap in L1
constexpr int max_slices = 88;  // blocks the runs are shared out to in backward

// V neighbouring channels as they lie in memory, loaded and stored at once. They stay so in
// registers until they are used: half the registers in bf16.
template <class T, int V>
using Word = std::conditional_t<sizeof(T) * V == 4, uint32_t, uint16_t>;
template <class T, int V>
__device__ float value(Word<T, V> w, int c) {
  if constexpr (sizeof(T) == 4) return __uint_as_float(w);
  if constexpr (V == 1) return __uint_as_float(uint32_t{w} << 16);
  return __uint_as_float(c == 0 ? w << 16 : w & 0xFFFF0000u);
}
template <class T, int V>
__device__ Word<T, V> word(const float (&v)[V]) {
  if constexpr (sizeof(T) == 4) {
    return __float_as_uint(v[0]);
  } else if constexpr (V == 1) {
    return bf16(v[0]).bits;
  } else {
    return bf16(v[0]).bits | uint32_t{bf16(v[1]).bits} << 16;
  }
}

__device__ float sigmoid(float q) {
  return fast_reciprocal(1.0f + fast_exp2(q * -1.44269504f));
}

// The taps of V channels in the order of the window: q[t] = b + sum_j w[j] x[t + j - (K-1)]
// (looking back) or b + sum_j w[j] x[t + j] (looking ahead).
template <int K, int V, bool ahead>
struct Taps {
  float w[K][V], b[V];
  template <class Side>
  __device__ void load(const Side& s, int64_t e) {
#pragma unroll
    for (int c = 0; c < V; ++c) {
      b[c] = s.b ? static_cast<const float*>(s.b)[e + c] : 0.0f;
#pragma unroll
      for (int j = 0; j < K; ++j)
        w[j][c] = static_cast<const float*>(s.w)[(e + c) * K + (ahead ? K - 1 - j : j)];
    }
  }
  // first: where in the window the tap 0 of this token lies
  template <class T, int W>
  __device__ float q(const Word<T, V> (&window)[W], int first, int c) const {
    float v = b[c];
#pragma unroll
    for (int j = 0; j < K; ++j) v += w[j][c] * value<T, V>(window[first + j], c);
    return v;
  }
};

// window[i] = x[t0 - (K-1) + i]
template <class T, int V, int K, bool ahead, int W>
__device__ void fwd_side(const Conv1dFwd& p, const Conv1dFwd::Side& s,
                         const Word<T, V> (&window)[W], int64_t b, int t0, int64_t e) {
  Taps<K, V, ahead> taps;
  taps.load(s, e);
  const int L = static_cast<int>(p.L);
  T* y = static_cast<T*>(s.y) + (b * L + t0) * p.E + e;
#pragma unroll
  for (int i = 0; i < fwd_run; ++i) {
    float out[V];
#pragma unroll
    for (int c = 0; c < V; ++c) {
      const float q = taps.template q<T>(window, i + (ahead ? K - 1 : 0), c);
      out[c] = q * (p.silu ? sigmoid(q) : 1.0f);
    }
    if (t0 + i < L) *reinterpret_cast<Word<T, V>*>(y + i * p.E) = word<T, V>(out);
  }
}

// Thread (x, y) of block (bx, by): channels (bx * lanes + x) * V on, run by * block_runs + y.
template <class T, int V, int K>
__global__ void __launch_bounds__(lanes* block_runs, K <= 4 ? 4 : 2)
    fwd(Conv1dFwd p, Ordered<Conv1dFwd::Side> o, int64_t runs) {
  const int64_t e = (int64_t{blockIdx.x} * lanes + threadIdx.x) * V;
  const int64_t run = int64_t{blockIdx.y} + int64_t{blockIdx.z} * gridDim.y;
  const int64_t at = run * block_runs + threadIdx.y;
  if (e >= p.E || at >= p.B * runs) return;
  const int64_t b = at / runs;
  const int t0 = static_cast<int>(at - b * runs) * fwd_run;
  Word<T, V> window[fwd_run + 2 * (K - 1)];
  load_rows(window, static_cast<const T*>(p.x) + b * p.L * p.x_row + e, static_cast<int>(p.x_row),
            t0 - (K - 1), static_cast<int>(p.L));
  if (o.on[0]) fwd_side<T, V, K, false>(p, o.side[0], window, b, t0, e);
  if (o.on[1]) fwd_side<T, V, K, true>(p, o.side[1], window, b, t0, e);
}

// Sums of one side that a thread keeps over all its runs: dw in the order of the window, db.
template <int K, int V>
struct Sums {
  float w[K][V] = {}, b[V] = {};
};

// Adds one side's part of dx of the run, and its part of the sums. A dq is needed by K tokens' dx,
// so those of K - 1 tokens of the next (looking ahead: previous) run are computed here again.
template <class T, int V, int K, bool ahead, int W>
__device__ void bwd_side(const Conv1dBwd& p, const Conv1dBwd::Side& s,
                         const Word<T, V> (&window)[W], float (&dx)[bwd_run][V], Sums<K, V>& sums,
                         int64_t b, int t0, int64_t e) {
  Taps<K, V, ahead> taps;
  taps.load(s, e);
  // dys[i] is of token t0 + i looking back, of t0 - (K-1) + i looking ahead; its tap 0 is at
  // window[i] either way. It is zero outside the image, and so then is dq.
  Word<T, V> dys[bwd_run + K - 1];
  load_rows(dys, static_cast<const T*>(s.dy) + b * p.L * p.E + e, static_cast<int>(p.E),
            t0 - (ahead ? K - 1 : 0), static_cast<int>(p.L));
#pragma unroll
  for (int i = 0; i < bwd_run + K - 1; ++i)
#pragma unroll
    for (int c = 0; c < V; ++c) {
      const float q = taps.template q<T>(window, i, c), g = sigmoid(q);
      const float slope = p.silu ? g * (1.0f + q * (1.0f - g)) : 1.0f;
      const float dq = value<T, V>(dys[i], c) * slope;
#pragma unroll
      for (int j = 0; j < K; ++j) {
        const int to = i + j - (K - 1);  // which token of the run window[i + j] is
        if (0 <= to && to < bwd_run) dx[to][c] += taps.w[j][c] * dq;
      }
      if (ahead ? i < K - 1 : i >= bwd_run) continue;  // that run's thread adds it to the sums
#pragma unroll
      for (int j = 0; j < K; ++j) sums.w[j][c] += dq * value<T, V>(window[i + j], c);
      sums.b[c] += dq;
    }
}

// Adds up the block's sums, runs in order, and writes them: part (2, K + 1, E) of this slice.
template <int K, int V, bool ahead>
__device__ void write_sums(const Sums<K, V>& sums, float* part, int64_t E, int64_t e) {
  __shared__ float all[block_runs][K + 1][V][lanes];
  __syncthreads();  // the array may still be read for the other side
#pragma unroll
  for (int c = 0; c < V; ++c) {
#pragma unroll
    for (int j = 0; j < K; ++j)
      all[threadIdx.y][ahead ? K - 1 - j : j][c][threadIdx.x] = sums.w[j][c];
    all[threadIdx.y][K][c][threadIdx.x] = sums.b[c];
  }
  __syncthreads();
  if (e >= E) return;
  for (int k = threadIdx.y; k <= K; k += block_runs)
#pragma unroll
    for (int c = 0; c < V; ++c) {
      float v = 0;
      for (int r = 0; r < block_runs; ++r) v += all[r][k][c][threadIdx.x];
      part[((ahead ? K + 1 : 0) + k) * E + e + c] = v;
    }
}

// Block (bx, slice) owns lanes * V channels and every (number of slices)-th group of runs.
template <class T, int V, int K>
__global__ void __launch_bounds__(lanes* block_runs, K <= 4 ? 2 : 1)
    bwd(Conv1dBwd p, Ordered<Conv1dBwd::Side> o, int64_t runs, float* part) {
  const int64_t e = (int64_t{blockIdx.x} * lanes + threadIdx.x) * V;
  Sums<K, V> sums[2];
  if (e < p.E)
    for (int64_t at = int64_t{blockIdx.y} * block_runs + threadIdx.y; at < p.B * runs;
         at += int64_t{gridDim.y} * block_runs) {
      const int64_t b = at / runs;
      const int t0 = static_cast<int>(at - b * runs) * bwd_run, L = static_cast<int>(p.L);
      Word<T, V> window[bwd_run + 2 * (K - 1)], before[bwd_run] = {};
      float dx[bwd_run][V];
      load_rows(window, static_cast<const T*>(p.x) + b * L * p.x_row + e, static_cast<int>(p.x_row),
                t0 - (K - 1), L);
      T* to = static_cast<T*>(p.dx) + b * L * p.dx_row + e;
      if (p.accumulate_dx && p.dx) load_rows(before, to, static_cast<int>(p.dx_row), t0, L);
#pragma unroll
      for (int i = 0; i < bwd_run; ++i)
#pragma unroll
        for (int c = 0; c < V; ++c) dx[i][c] = value<T, V>(before[i], c);
      if (o.on[0]) bwd_side<T, V, K, false>(p, o.side[0], window, dx, sums[0], b, t0, e);
      if (o.on[1]) bwd_side<T, V, K, true>(p, o.side[1], window, dx, sums[1], b, t0, e);
      if (!p.dx) continue;
#pragma unroll
      for (int i = 0; i < bwd_run; ++i)
        if (t0 + i < L)
          *reinterpret_cast<Word<T, V>*>(to + (t0 + i) * p.dx_row) = word<T, V>(dx[i]);
    }
  part += int64_t{blockIdx.y} * 2 * (K + 1) * p.E;
  write_sums<K, V, false>(sums[0], part, p.E, e);
  write_sums<K, V, true>(sums[1], part, p.E, e);
}

// Calls f with the type and the number of channels of a thread: 2 in bf16 where every row starts at
// an even element of aligned memory.
template <class F>
void with_type(DType t, bool pairs, F&& f) {
  dispatch_gpu(t, [&]<class T>() {
    if constexpr (sizeof(T) == 2)
      if (pairs) return f.template operator()<T, 2>();
    f.template operator()<T, 1>();
  });
}
bool aligned(const void* p) {
  return reinterpret_cast<uintptr_t>(p) % 4 == 0;
}

int64_t runs_of(int64_t L, int run) {
  return (L + run - 1) / run;
}
int slices_of(const Conv1dBwd& p) {
  const int64_t groups = (p.B * runs_of(p.L, bwd_run) + block_runs - 1) / block_runs;
  return static_cast<int>(std::clamp<int64_t>(groups, 1, max_slices));
}

template <class P>
bool fits(const P& p) {
  return p.dtype != DType::f64 && 2 <= p.K && p.K <= 8 && rows_fit(p.L, p.E) &&
         rows_fit(p.L, p.x_row);
}

// Two sides of one direction are two launches.
template <class P>
P only(const P& p, int n) {
  P q = p;
  q.sides = 1;
  q.side[0] = p.side[n];
  return q;
}

}  // namespace

bool conv1d_fwd_window_supports(const Conv1dFwd& p, const Device&) {
  return fits(p);
}
void conv1d_fwd_window(const Conv1dFwd& p, const Launch& l) {
  if (same_direction(p)) {
    conv1d_fwd_window(only(p, 0), l);
    conv1d_fwd_window(only(p, 1), l);
    return;
  }
  const auto o = in_order(p);
  const bool pairs = p.E % 2 == 0 && p.x_row % 2 == 0 && aligned(p.x) && aligned(o.side[0].y) &&
                     aligned(o.side[1].y);
  const int64_t runs = runs_of(p.L, fwd_run), groups = (p.B * runs + block_runs - 1) / block_runs;
  with_type(p.dtype, pairs, [&]<class T, int V>() {
    with_taps<2>(p.K, [&]<int K>() {
      const unsigned y = blocks_for(groups, 1, 65535);
      const dim3 grid(blocks_for(p.E, lanes * V), y, blocks_for(groups, y));
      fwd<T, V, K><<<grid, dim3(lanes, block_runs), 0, l.stream>>>(p, o, runs);
    });
  });
}

bool conv1d_bwd_window_supports(const Conv1dBwd& p, const Device&) {
  return fits(p) && rows_fit(p.L, p.dx_row);
}
size_t conv1d_bwd_window_scratch(const Conv1dBwd& p) {
  return size_t(slices_of(p)) * 2 * (p.K + 1) * p.E * sizeof(float);
}
void conv1d_bwd_window(const Conv1dBwd& p, const Launch& l) {
  if (same_direction(p)) {
    conv1d_bwd_window(only(p, 0), l);
    Conv1dBwd second = only(p, 1);
    second.accumulate_dx = true;
    conv1d_bwd_window(second, l);
    return;
  }
  auto o = in_order(p);
  for (int n = 0; n < 2; ++n) o.on[n] = o.on[n] && o.side[n].dy;
  const bool pairs = p.E % 2 == 0 && p.x_row % 2 == 0 && p.dx_row % 2 == 0 && aligned(p.x) &&
                     aligned(p.dx) && aligned(o.side[0].dy) && aligned(o.side[1].dy);
  const int slices = slices_of(p);
  auto part = static_cast<float*>(l.scratch);
  with_type(p.dtype, pairs, [&]<class T, int V>() {
    with_taps<2>(p.K, [&]<int K>() {
      const dim3 grid(blocks_for(p.E, lanes * V), slices);
      bwd<T, V, K>
          <<<grid, dim3(lanes, block_runs), 0, l.stream>>>(p, o, runs_of(p.L, bwd_run), part);
    });
  });
  add_sides(o, p, slices, part, l.stream);
}

}  // namespace krait
