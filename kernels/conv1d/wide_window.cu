// GPU row of the forward pass. A thread owns 8 bytes of channels (4 in bf16) of a run of 16 tokens,
// and holds the run with K - 1 tokens either side, the window, in registers.
#include "kernels/common/device/quad.cuh"
#include "kernels/conv1d/sides.cuh"

namespace krait {
namespace {

constexpr int length = 16;  // of a run, in tokens; a thread reads 2 (K-1) more, mostly from cache
constexpr int lanes = 32;   // threads side by side, on neighbouring channels
constexpr int block_runs = 4;  // runs of a block, mostly of one image: their windows overlap in L1
constexpr int threads = lanes * block_runs;

template <class T>
constexpr int channels = 8 / sizeof(T);  // of a thread

// A thread's channels as they lie in memory. They stay so in registers until they are used.
template <class T>
using Word = std::conditional_t<sizeof(T) == 4, float2, uint2>;
__device__ float value(float2 w, int c) {
  return c == 0 ? w.x : w.y;
}
__device__ float value(uint2 w, int c) {
  const uint32_t pair = c < 2 ? w.x : w.y;
  return __uint_as_float(c % 2 == 0 ? pair << 16 : pair & 0xFFFF0000u);
}
__device__ void store(float* to, const float (&v)[2]) {
  store_pair(to, {v[0], v[1]});
}
__device__ void store(bf16* to, const float (&v)[4]) {
  store_quad(to, {v[0], v[1], v[2], v[3]});
}

template <class T>
using Silu = std::conditional_t<sizeof(T) == 4, SiluByExp, SiluByTanh>;

// The taps of a thread's channels, and in [K] their bias; both times the scale of SiLU.
template <class T>
struct alignas(4 * channels<T>) Floats {
  float of[channels<T>];
};
// Those of a block, in the order of the window: z[t] = [K] + sum_j [j] x[t + j - (K-1)] (looking
// back) or [K] + sum_j [j] x[t + j] (looking ahead).
template <class T, int K>
struct BlockTaps {
  Floats<T> at[K + 1][lanes];
  template <bool ahead>
  __device__ void load(const Conv1dFwd& p, const Conv1dFwd::Side& s) {
    constexpr int V = channels<T>;
    const int c = threadIdx.y * lanes + threadIdx.x;
    const int64_t e = int64_t{blockIdx.x} * lanes * V + c;
    static_assert(lanes * V <= threads);
    if (c >= lanes * V || e >= p.E) return;
    auto put = [&](int j, float v) { at[j][c / V].of[c % V] = v * Silu<T>::scale; };
#pragma unroll
    for (int k = 0; k < K; ++k)
      put(ahead ? K - 1 - k : k, static_cast<const float*>(s.w)[e * K + k]);
    put(K, s.b ? static_cast<const float*>(s.b)[e] : 0.0f);
  }
};

// window[i] = x[t - (K-1) + i] where t is the run's first token; y: its place in the result; `left`
// tokens of the run are in the image.
template <class T, int K, bool ahead, bool whole, int W>
__device__ void side(const BlockTaps<T, K>& block, const Word<T> (&window)[W], T* y, uint32_t E,
                     int left) {
  constexpr int V = channels<T>;
  Floats<T> w[K + 1];
#pragma unroll
  for (int j = 0; j <= K; ++j) w[j] = block.at[j][threadIdx.x];
#pragma unroll
  for (int i = 0; i < length; ++i) {
    float out[V];
#pragma unroll
    for (int c = 0; c < V; ++c) {
      float z = w[K].of[c];
#pragma unroll
      for (int j = 0; j < K; ++j) z += w[j].of[c] * value(window[i + j + (ahead ? K - 1 : 0)], c);
      out[c] = Silu<T>::value(z);
    }
    if (whole || i < left) store(y + i * E, out);
  }
}

// Thread (x, y) of block (bx, by, bz): channels (bx * lanes + x) * V on, run (bz * grid + by) *
// block_runs + y.
template <class T, int K>
__global__ void __launch_bounds__(threads, 4)
    fwd(Conv1dFwd p, Ordered<Conv1dFwd::Side> o, int64_t runs) {
  __shared__ BlockTaps<T, K> taps[2];
  const int64_t e = (int64_t{blockIdx.x} * lanes + threadIdx.x) * channels<T>;
  const int64_t at =
      (int64_t{blockIdx.y} + int64_t{blockIdx.z} * gridDim.y) * block_runs + threadIdx.y;
  const bool real = e < p.E && at < p.B * runs;
  const int64_t b = real ? at / runs : 0;
  const int t = real ? static_cast<int>(at - b * runs) * length : 0, L = static_cast<int>(p.L);
  Word<T> window[length + 2 * (K - 1)];
  load_rows(window, static_cast<const T*>(p.x) + b * L * p.x_row + (real ? e : 0),
            static_cast<int>(p.x_row), t - (K - 1), L);
  if (o.on[0]) taps[0].template load<false>(p, o.side[0]);  // while the window is on its way
  if (o.on[1]) taps[1].template load<true>(p, o.side[1]);
  __syncthreads();
  if (!real) return;
  const uint32_t E = p.E;
  T* y[2];
  for (int n = 0; n < 2; ++n) y[n] = static_cast<T*>(o.side[n].y) + (b * L + t) * p.E + e;
  if (L - t >= length) {
    if (o.on[0]) side<T, K, false, true>(taps[0], window, y[0], E, length);
    if (o.on[1]) side<T, K, true, true>(taps[1], window, y[1], E, length);
  } else {
    if (o.on[0]) side<T, K, false, false>(taps[0], window, y[0], E, L - t);
    if (o.on[1]) side<T, K, true, false>(taps[1], window, y[1], E, L - t);
  }
}

}  // namespace

bool conv1d_fwd_wide_window_supports(const Conv1dFwd& p, const Device&) {
  if (p.dtype == DType::f64 || p.K < 2 || p.K > 4 || !p.silu || same_direction(p)) return false;
  const int64_t V = p.dtype == DType::f32 ? channels<float> : channels<bf16>;
  bool fits = p.E % V == 0 && p.x_row % V == 0 && rows_fit(p.L, p.E) && rows_fit(p.L, p.x_row) &&
              reinterpret_cast<uintptr_t>(p.x) % 8 == 0;
  for (int n = 0; n < p.sides; ++n)
    fits = fits && reinterpret_cast<uintptr_t>(p.side[n].y) % 8 == 0;
  return fits;
}
void conv1d_fwd_wide_window(const Conv1dFwd& p, const Launch& l) {
  const auto o = in_order(p);
  const int64_t runs = (p.L + length - 1) / length,
                groups = (p.B * runs + block_runs - 1) / block_runs;
  dispatch_gpu(p.dtype, [&]<class T>() {
    auto launch = [&]<int K>() {
      const unsigned y = blocks_for(groups, 1, 65535);
      const dim3 grid(blocks_for(p.E, lanes * channels<T>), y, blocks_for(groups, y));
      fwd<T, K><<<grid, dim3(lanes, block_runs), 0, l.stream>>>(p, o, runs);
    };
    if (p.K == 2) launch.template operator()<2>();
    if (p.K == 3) launch.template operator()<3>();
    if (p.K == 4) launch.template operator()<4>();
  });
}

}  // namespace krait
