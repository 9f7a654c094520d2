// CPU row: eight channels of one image at a time in SIMD lanes, images on several threads.
// Sums over images and channels are taken in a fixed order, whatever the number of threads.
#include <vector>

#include "kernels/common/lanes.h"
#include "kernels/selective_scan/rows.h"

namespace krait {
namespace {

constexpr float log2e = 1.44269504088896f;
constexpr int max_states = 64;

// A * log2(e) for 8 channels from e: exp(dt A) is then 2^(dt a2).
void load_a2(const void* A_log, int e, int count, int N, Lanes* a2) {
  for (int n = 0; n < N; ++n) {
    Lanes v{};
    for (int i = 0; i < count; ++i) v[i] = static_cast<const float*>(A_log)[(e + i) * N + n];
    a2[n] = exp_lanes(v) * -log2e;
  }
}

template <class S>
Lanes raw_dt(const S& s, int64_t at, int e, int count) {
  const Lanes d = load(static_cast<const float*>(s.delta) + at, count);
  return s.bias ? d + load(static_cast<const float*>(s.bias) + e, count) : d;
}

}  // namespace

bool scan_fwd_channel_lanes_supports(const ScanFwd& p, const Device&) {
  return p.dtype == DType::f32 && p.N <= max_states;
}

void scan_fwd_channel_lanes(const ScanFwd& p, const Launch&) {
  const int blocks = (p.E + lanes - 1) / lanes;
  const int every = scan_state_every(p.N);
  const int64_t kept = scan_state_count(p.L, p.N);
#pragma omp parallel
  {
    std::vector<Lanes> sum(p.L);
#pragma omp for collapse(2) schedule(static)
    for (int64_t b = 0; b < p.B; ++b)
      for (int block = 0; block < blocks; ++block) {
        const int e = block * lanes, count = p.E - e < lanes ? p.E - e : lanes;
        for (int k = 0; k < p.sides; ++k) {
          const auto& s = p.side[k];
          Lanes a2[max_states], h[max_states];
          load_a2(s.A_log, e, count, p.N, a2);
          for (int n = 0; n < p.N; ++n) h[n] = Lanes{};
          const Lanes D = s.D ? load(static_cast<const float*>(s.D) + e, count) : Lanes{};
          for (int64_t step = 0; step < p.L; ++step) {
            const int64_t t = s.reverse ? p.L - 1 - step : step, at = (b * p.L + t) * p.E + e;
            if (s.states && step % every == 0) {
              float* to = static_cast<float*>(s.states) +
                          ((b * kept + step / every) * p.E + e) * int64_t{p.N};
              for (int n = 0; n < p.N; ++n)
                for (int i = 0; i < count; ++i) to[i * p.N + n] = h[n][i];
            }
            const Lanes x = raw_dt(s, at, e, count);
            const Lanes dt = p.softplus ? softplus_lanes(x).value : x;
            const Lanes u = load(static_cast<const float*>(s.u) + at, count), du = dt * u;
            const float* Bm = static_cast<const float*>(s.Bm) + (b * p.L + t) * s.b_row;
            const float* Cm = static_cast<const float*>(s.Cm) + (b * p.L + t) * s.c_row;
            Lanes y = D * u;
            for (int n = 0; n < p.N; ++n) {
              h[n] = exp2_lanes(dt * a2[n]) * h[n] + du * Bm[n];
              y += h[n] * Cm[n];
            }
            sum[t] = k == 0 ? y : sum[t] + y;
          }
        }
        for (int64_t t = 0; t < p.L; ++t) {
          const int64_t at = (b * p.L + t) * p.E + e;
          Lanes y = sum[t] * static_cast<float>(p.scale);
          if (p.z) {
            const Lanes z =
                load(static_cast<const float*>(p.z) + (b * p.L + t) * p.z_row + e, count);
            y *= z * sigmoid_lanes(z);
          }
          if (p.sum) store(static_cast<float*>(p.sum) + at, sum[t], count);
          store(static_cast<float*>(p.y) + at, y, count);
        }
      }
  }
}

bool scan_bwd_channel_lanes_supports(const ScanBwd& p, const Device&) {
  return p.dtype == DType::f32 && p.N <= max_states;
}

namespace {

// What one image adds to the gradients of A_log (E, N), D (E) and bias (E) of one side.
int64_t partial_size(const ScanBwd& p) {
  return int64_t{p.E} * (p.N + 2);
}

// What a thread keeps of one image, one side and 8 channels.
struct Work {
  explicit Work(const ScanBwd& p)
      : h((p.L + 1) * p.N), decay(p.L * p.N), dt(p.L), slope(p.L), dBC(p.L * 2 * p.N) {}
  std::vector<Lanes> h;          // (L + 1, N): the state before each step, and after the last
  std::vector<Lanes> decay;      // (L, N): exp(dt A)
  std::vector<Lanes> dt, slope;  // (L): step size, and its derivative by delta
  std::vector<Lanes> dBC;        // (L, 2N): sums over channels, lane by lane
};

// One image, one side. `part` receives the image's parameter gradients.
void backward(const ScanBwd& p, const ScanBwd::Side& s, int64_t b, Work& work, float* part) {
  const int N = p.N;
  Lanes* dBC = work.dBC.data();
  for (int64_t i = 0; i < p.L * 2 * N; ++i) dBC[i] = Lanes{};
  for (int e = 0; e < p.E; e += lanes) {
    const int count = p.E - e < lanes ? p.E - e : lanes;
    Lanes a2[max_states], lam[max_states], dA[max_states];
    load_a2(s.A_log, e, count, N, a2);
    for (int n = 0; n < N; ++n) work.h[n] = lam[n] = dA[n] = Lanes{};
    const Lanes D = s.D ? load(static_cast<const float*>(s.D) + e, count) : Lanes{};
    Lanes dD{}, dbias{};
    for (int64_t step = 0; step < p.L; ++step) {
      const int64_t t = s.reverse ? p.L - 1 - step : step, at = (b * p.L + t) * p.E + e;
      const Lanes x = raw_dt(s, at, e, count);
      SoftplusLanes sp{x, all_lanes(1)};
      if (p.softplus) sp = softplus_lanes(x);
      work.dt[step] = sp.value;
      work.slope[step] = sp.slope;
      const Lanes du = sp.value * load(static_cast<const float*>(s.u) + at, count);
      const float* Bm = static_cast<const float*>(s.Bm) + (b * p.L + t) * s.b_row;
      const Lanes* now = work.h.data() + step * N;
      Lanes* next = work.h.data() + (step + 1) * N;
      Lanes* decay = work.decay.data() + step * N;
      for (int n = 0; n < N; ++n) {
        decay[n] = exp2_lanes(sp.value * a2[n]);
        next[n] = decay[n] * now[n] + du * Bm[n];
      }
    }
    for (int64_t step = p.L - 1; step >= 0; --step) {
      const int64_t t = s.reverse ? p.L - 1 - step : step, row = b * p.L + t, at = row * p.E + e;
      const Lanes dt = work.dt[step], u = load(static_cast<const float*>(s.u) + at, count);
      Lanes g = load(static_cast<const float*>(p.dy) + at, count) * static_cast<float>(p.scale);
      if (p.z) {
        const Lanes z = load(static_cast<const float*>(p.z) + row * p.z_row + e, count);
        g *= z * sigmoid_lanes(z);
      }
      const float* Bm = static_cast<const float*>(s.Bm) + row * s.b_row;
      const float* Cm = static_cast<const float*>(s.Cm) + row * s.c_row;
      const Lanes* before = work.h.data() + step * N;
      const Lanes* after = work.h.data() + (step + 1) * N;
      const Lanes* decay = work.decay.data() + step * N;
      Lanes *dB = dBC + t * 2 * N, *dC = dB + N;
      const Lanes dtu = dt * u;
      Lanes s1{}, s2{};  // sums over states of lam B and of lam A carried log2(e)
      for (int n = 0; n < N; ++n) {
        const Lanes l = lam[n] + g * Cm[n];
        const Lanes lc = l * (decay[n] * before[n]);
        dB[n] += l * dtu;
        dC[n] += g * after[n];
        s1 += l * Bm[n];
        s2 += lc * a2[n];
        dA[n] += lc * dt;
        lam[n] = l * decay[n];
      }
      const Lanes ddelta = (u * s1 + s2 * (1 / log2e)) * work.slope[step];
      dD += g * u;
      dbias += ddelta;
      if (s.du)
        store_or_add(static_cast<float*>(s.du) + at, D * g + dt * s1, count, s.accumulate_du);
      if (s.ddelta)
        store_or_add(static_cast<float*>(s.ddelta) + at, ddelta, count, s.accumulate_ddelta);
    }
    for (int i = 0; i < count; ++i) {
      for (int n = 0; n < N; ++n) part[(e + i) * N + n] = dA[n][i] * (a2[n][i] * (1 / log2e));
      part[p.E * N + e + i] = dD[i];
      part[p.E * (N + 1) + e + i] = dbias[i];
    }
  }
  for (int64_t t = 0; t < p.L; ++t)
    for (int n = 0; n < N; ++n) {
      const int64_t row = b * p.L + t;
      if (s.dBm) {
        float& to = static_cast<float*>(s.dBm)[row * s.db_row + n];
        to = (s.accumulate_dBm ? to : 0.0f) + sum_lanes(dBC[t * 2 * N + n]);
      }
      if (s.dCm) {
        float& to = static_cast<float*>(s.dCm)[row * s.dc_row + n];
        to = (s.accumulate_dCm ? to : 0.0f) + sum_lanes(dBC[t * 2 * N + N + n]);
      }
    }
}

void backward_gate(const ScanBwd& p, int64_t b) {
  for (int64_t row = b * p.L; row < (b + 1) * p.L; ++row)
    for (int e = 0; e < p.E; e += lanes) {
      const int count = p.E - e < lanes ? p.E - e : lanes;
      const Lanes z = load(static_cast<const float*>(p.z) + row * p.z_row + e, count);
      const Lanes q = sigmoid_lanes(z);
      const Lanes sum = load(static_cast<const float*>(p.sum) + row * p.E + e, count);
      const Lanes dy = load(static_cast<const float*>(p.dy) + row * p.E + e, count);
      store_or_add(static_cast<float*>(p.dz) + row * p.dz_row + e,
                   dy * static_cast<float>(p.scale) * sum * q * (1.0f + z * (1.0f - q)), count,
                   p.accumulate_dz);
    }
}

}  // namespace

size_t scan_bwd_channel_lanes_scratch(const ScanBwd& p) {
  return p.B * p.sides * partial_size(p) * sizeof(float);
}

void scan_bwd_channel_lanes(const ScanBwd& p, const Launch& l) {
  const int64_t size = partial_size(p);
  float* parts = static_cast<float*>(l.scratch);
#pragma omp parallel
  {
    Work work(p);
#pragma omp for schedule(static)
    for (int64_t b = 0; b < p.B; ++b) {
      if (p.dz) backward_gate(p, b);
      for (int k = 0; k < p.sides; ++k)
        backward(p, p.side[k], b, work, parts + (b * p.sides + k) * size);
    }
    // Images are added in their order; each element belongs to one thread.
    for (int k = 0; k < p.sides; ++k) {
      const auto& s = p.side[k];
#pragma omp for schedule(static)
      for (int64_t i = 0; i < size; ++i) {
        float sum = 0;
        for (int64_t b = 0; b < p.B; ++b) sum += parts[(b * p.sides + k) * size + i];
        const int64_t EN = int64_t{p.E} * p.N;
        float* to = i < EN         ? static_cast<float*>(s.dA_log)
                    : i < EN + p.E ? static_cast<float*>(s.dD)
                                   : static_cast<float*>(s.dbias);
        if (to) to[i < EN ? i : (i - EN) % p.E] += sum;
      }
    }
  }
}

}  // namespace krait
