// CPU row: eight channels of one image at a time in SIMD lanes, four states of each together,
// images on several threads. Sums over images and channels are taken in a fixed order, whatever the
// number of threads.
#include <algorithm>
#include <vector>

#include "kernels/common/lanes.h"
#include "kernels/selective_scan/rows.h"

namespace krait {
namespace {

// One image's 8 channels, the last block perhaps fewer.
struct Place {
  int64_t b, L;
  int E, e, count;  // channels e to e + count - 1 of E
  int64_t at(int64_t t) const { return (b * L + t) * E + e; }
};
template <class P>
Place place(const P& p, int64_t b, int block) {
  const int e = block * lanes;
  return {b, p.L, p.E, e, std::min(p.E - e, lanes)};
}
int blocks_of(int E) {
  return (E + lanes - 1) / lanes;
}
int groups_of(int N) {  // of four states
  return (N + 3) / 4;
}

// First into scratch: a2 = -exp(A_log) log2(e), so that exp(dt A) is 2^(dt a2).
// (sides, blocks, groups) times four states; those beyond N are zero, and so stay their h.
template <class P>
int64_t rates_count(const P& p) {
  return int64_t{p.sides} * blocks_of(p.E) * groups_of(p.N);
}
template <class P>
void make_rates(const P& p, Lanes4* to) {
  const int blocks = blocks_of(p.E), groups = groups_of(p.N);
#pragma omp parallel for collapse(2) schedule(static)
  for (int k = 0; k < p.sides; ++k)
    for (int block = 0; block < blocks; ++block) {
      const Place at = place(p, 0, block);
      for (int n = 0; n < groups * 4; ++n) {
        Lanes v{};
        for (int i = 0; i < at.count && n < p.N; ++i)
          v[i] = static_cast<const float*>(p.side[k].A_log)[(at.e + i) * p.N + n];
        to[(k * blocks + block) * groups + n / 4].v[n % 4] =
            n < p.N ? exp_lanes(v) * -log2e : Lanes{};
      }
    }
}

// B and C of one image and side as a group of states reads them: (groups, L, 8), four of B and four
// of C for each token; states beyond N are zero.
template <class P>
int64_t bc_count(const P& p) {
  return groups_of(p.N) * p.L * 8;
}
template <class P, class S>
void gather_bc(const P& p, const S& s, int64_t b, float* to) {
  auto four_of = [&](const void* from, int64_t row, int n, float* four) {
    const float* x = static_cast<const float*>(from) + row + n;
    if (n + 4 <= p.N)
      std::copy_n(x, 4, four);
    else
      for (int i = 0; i < 4; ++i) four[i] = n + i < p.N ? x[i] : 0.0f;
  };
  for (int64_t t = 0; t < p.L; ++t)
    for (int n = 0; n < p.N; n += 4) {
      float* four = to + (n / 4 * p.L + t) * 8;
      four_of(s.Bm, (b * p.L + t) * s.b_row, n, four);
      four_of(s.Cm, (b * p.L + t) * s.c_row, n, four + 4);
    }
}

// Four tokens at a time: calls f(t, many), where many is 4 or, at the end, fewer. What is kept by
// token has room for four then.
template <class F>
void by_fours(int64_t L, F&& f) {
  for (int64_t t = 0; t < L; t += 4) f(t, static_cast<int>(std::min<int64_t>(L - t, 4)));
}
int64_t padded(int64_t L) {
  return (L + 3) / 4 * 4;
}
// 8 channels of `many` tokens, `row` elements apart, from element `from` on.
KRAIT_LANES Lanes4 load_tokens(const void* p, int64_t from, int64_t row, int count, int many) {
  const float* x = static_cast<const float*>(p) + from;
  if (many == 4 && count == lanes) return four([&](int i) { return load(x + i * row); });
  return four([&](int i) { return i < many ? load(x + i * row, count) : Lanes{}; });
}
KRAIT_LANES void store_tokens(const Lanes4& v, void* p, int64_t from, int64_t row, int count,
                              int many, bool add = false) {
  float* x = static_cast<float*>(p) + from;
  if (many == 4 && count == lanes && !add)
    for (int i = 0; i < 4; ++i) store(x + i * row, v.v[i]);
  else
    for (int i = 0; i < many; ++i) store_or_add(x + i * row, v.v[i], count, add);
}
KRAIT_LANES Lanes4 load_four(const Lanes* p) {
  return four([&](int i) { return p[i]; });
}
KRAIT_LANES void store_four(const Lanes4& v, Lanes* p) {
  for (int i = 0; i < 4; ++i) p[i] = v.v[i];
}
KRAIT_LANES Lanes4 same(Lanes v) {
  return four([&](int) { return v; });
}
// p[0] to p[3], each for all lanes.
KRAIT_LANES Lanes4 spread(const float* p) {
  return four([&](int i) { return all_lanes(p[i]); });
}
KRAIT_LANES Lanes sum_of_four(const Lanes4& x) {
  return (x.v[0] + x.v[1]) + (x.v[2] + x.v[3]);
}

// What one side of a block needs for every group of states, by token; and a group's own decays.
struct Steps {
  explicit Steps(int64_t L) : dt(padded(L)), slope(padded(L)), dtu(padded(L)), decay(L) {}
  std::vector<Lanes> dt, slope, dtu;  // the step, its derivative by delta, dt u
  std::vector<Lanes4> decay;          // exp(dt A)
};
template <bool slopes, class P, class S>
void make_steps(const P& p, const S& s, const Place& at, Steps& to) {
  const Lanes bias = s.bias ? load(static_cast<const float*>(s.bias) + at.e, at.count) : Lanes{};
  by_fours(p.L, [&](int64_t t, int many) {
    const Lanes4 x = load_tokens(s.delta, at.at(t), p.E, at.count, many) + same(bias);
    const Lanes4 u = load_tokens(s.u, at.at(t), p.E, at.count, many);
    const Lanes4 dt = p.softplus ? softplus_lanes(x) : x;
    store_four(dt, &to.dt[t]);
    store_four(dt * u, &to.dtu[t]);
    if (slopes) store_four(p.softplus ? sigmoid_lanes(x) : all_lanes<Lanes4>(1), &to.slope[t]);
  });
}
// Is no dt a2 below -126, where exp2_product ends?
bool bounded(const std::vector<Lanes>& dt, const Lanes4* rates, int groups) {
  Lanes largest{}, fastest{};
  for (const Lanes& v : dt) largest = larger(v, largest);
  for (int g = 0; g < groups; ++g)
    for (const Lanes& v : rates[g].v) fastest = smaller(v, fastest);
  const Lanes least = largest * fastest;
  for (int i = 0; i < lanes; ++i)
    if (!(least[i] > -126)) return false;
  return true;
}
// A loop of its own: nothing in it waits for a token before.
void make_decays(const Lanes4& rate, bool bounded, Steps& steps) {
  const int64_t L = static_cast<int64_t>(steps.decay.size());
  if (bounded)
    for (int64_t t = 0; t < L; ++t) steps.decay[t] = exp2_product(same(steps.dt[t]), rate);
  else
    for (int64_t t = 0; t < L; ++t) steps.decay[t] = exp2_lanes(same(steps.dt[t]) * rate);
}

// Four states h of one block over `count` tokens from t on, forwards (way = 1) or backwards (-1).
// Adds C h to `sum`. bc (L, 8)
Lanes4 walk(Lanes4 h, const Steps& steps, const float* bc, int64_t t, int64_t count, int way,
            Lanes* sum) {
  const Lanes* dtu = steps.dtu.data();
  const Lanes4* decay = steps.decay.data();
  for (; count > 0; --count, t += way) {
    const float *Bm = bc + t * 8, *Cm = Bm + 4;
    h = four([&](int i) { return decay[t].v[i] * h.v[i] + dtu[t] * Bm[i]; });
    sum[t] += (h.v[0] * Cm[0] + h.v[1] * Cm[1]) + (h.v[2] * Cm[2] + h.v[3] * Cm[3]);
  }
  return h;
}

// One side of one block: adds s_t to `sum` (L).
void forward(const ScanFwd& p, const ScanFwd::Side& s, const Place& at, const Lanes4* rates,
             const float* bc, Steps& steps, Lanes* sum) {
  const int64_t L = p.L;
  const int N = p.N, groups = groups_of(N), way = s.reverse ? -1 : 1;
  make_steps<false>(p, s, at, steps);
  const bool in_range = bounded(steps.dt, rates, groups);
  const int64_t every = s.states ? scan_state_every(N) : L;
  for (int n = 0; n < N; n += 4) {
    make_decays(rates[n / 4], in_range, steps);
    Lanes4 h = all_lanes<Lanes4>(0);
    for (int64_t step = 0; step < L; step += every) {
      if (s.states) {
        const int64_t row = at.b * scan_state_count(L, N) + step / every;
        float* to = static_cast<float*>(s.states) + (row * p.E + at.e) * N + n;
        for (int k = 0; k < 4 && n + k < N; ++k)
          for (int i = 0; i < at.count; ++i) to[i * N + k] = h.v[k][i];
      }
      h = walk(h, steps, bc + n / 4 * L * 8, s.reverse ? L - 1 - step : step,
               std::min(L - step, every), way, sum);
    }
  }
  if (!s.D) return;
  const Lanes4 D = same(load(static_cast<const float*>(s.D) + at.e, at.count));
  by_fours(L, [&](int64_t t, int many) {
    const Lanes4 u = load_tokens(s.u, at.at(t), p.E, at.count, many);
    store_four(load_four(sum + t) + D * u, sum + t);
  });
}

// y = scale sum silu(z) of one block.
void forward_gate(const ScanFwd& p, const Place& at, const Lanes* sum) {
  by_fours(p.L, [&](int64_t t, int many) {
    const Lanes4 s = load_four(sum + t);
    Lanes4 y = s * all_lanes<Lanes4>(static_cast<float>(p.scale));
    if (p.z)
      y = y *
          silu_lanes(load_tokens(p.z, (at.b * p.L + t) * p.z_row + at.e, p.z_row, at.count, many));
    if (p.sum) store_tokens(s, p.sum, at.at(t), p.E, at.count, many);
    store_tokens(y, p.y, at.at(t), p.E, at.count, many);
  });
}

}  // namespace

bool scan_fwd_channel_lanes_supports(const ScanFwd& p, const Device&) {
  return p.R == 0 && p.dtype == DType::f32;
}
size_t scan_fwd_channel_lanes_scratch(const ScanFwd& p) {
  return rates_count(p) * sizeof(Lanes4);
}

void scan_fwd_channel_lanes(const ScanFwd& p, const Launch& l) {
  const int blocks = blocks_of(p.E), groups = groups_of(p.N);
  // A task is some blocks of an image. With few images there are more tasks, and B and C are
  // gathered more often; the result is the same.
  const int64_t parts = std::clamp<int64_t>(32 / p.B, 1, blocks);
  Lanes4* rates = static_cast<Lanes4*>(l.scratch);
  make_rates(p, rates);
#pragma omp parallel
  {
    std::vector<float> bc(p.sides * bc_count(p));
    std::vector<Lanes> sum(padded(p.L));
    Steps steps(p.L);
#pragma omp for collapse(2) schedule(static)
    for (int64_t b = 0; b < p.B; ++b)
      for (int64_t part = 0; part < parts; ++part) {
        for (int k = 0; k < p.sides; ++k) gather_bc(p, p.side[k], b, bc.data() + k * bc_count(p));
        for (int64_t block = blocks * part / parts; block < blocks * (part + 1) / parts; ++block) {
          const Place at = place(p, b, static_cast<int>(block));
          std::fill(sum.begin(), sum.end(), Lanes{});
          for (int k = 0; k < p.sides; ++k)
            forward(p, p.side[k], at, rates + (k * blocks + block) * groups,
                    bc.data() + k * bc_count(p), steps, sum.data());
          forward_gate(p, at, sum.data());
        }
      }
  }
}

bool scan_bwd_channel_lanes_supports(const ScanBwd& p, const Device&) {
  return p.R == 0 && p.dtype == DType::f32;
}

namespace {

// What one image adds to the gradients of A_log (E, N), D (E) and bias (E) of one side.
int64_t partial_size(const ScanBwd& p) {
  return int64_t{p.E} * (p.N + 2);
}

// What a thread keeps of one image and 8 channels.
struct Work {
  explicit Work(const ScanBwd& p)
      : g(padded(p.L)),
        s1(padded(p.L)),
        s2(padded(p.L)),
        steps(p.L),
        h(p.L + 1),
        bc(p.sides * bc_count(p)),
        dBC(p.sides * groups_of(p.N) * p.L * 2) {}
  std::vector<Lanes> g;       // by token: gradient of the sum over sides
  std::vector<Lanes> s1, s2;  // by token: sums over states of lam B, and of lam carried a2
  Steps steps;
  std::vector<Lanes4> h;    // by step of the scan: states before it, and at the end
  std::vector<float> bc;    // (sides, groups, L, 8), see gather_bc
  std::vector<Lanes4> dBC;  // (sides, groups, L, 2): sums over channels, lane by lane
};

// Four states of one block: forward, keeping every state, then back. Adds to work.s1 and s2, and to
// dBC (L, 2); returns the sum over tokens of lam carried dt, which is the gradient of A.
Lanes4 there_and_back(const Lanes4& rate, const float* bc, int64_t L, bool reverse, Work& work,
                      Lanes4* dBC) {
  const Lanes *dt = work.steps.dt.data(), *dtu = work.steps.dtu.data(), *g = work.g.data();
  const Lanes4* decay = work.steps.decay.data();
  Lanes *all_s1 = work.s1.data(), *all_s2 = work.s2.data();
  Lanes4* h = work.h.data();
  const int way = reverse ? -1 : 1;
  int64_t t = reverse ? L - 1 : 0;
  h[0] = all_lanes<Lanes4>(0);
  for (int64_t i = 0; i < L; ++i, t += way) {
    const float* Bm = bc + t * 8;
    h[i + 1] = four([&](int k) { return decay[t].v[k] * h[i].v[k] + dtu[t] * Bm[k]; });
  }
  Lanes4 lam = all_lanes<Lanes4>(0), dA = lam;
  for (int64_t i = L - 1; i >= 0; --i) {
    t -= way;
    lam = lam + same(g[t]) * spread(bc + t * 8 + 4);
    dBC[t * 2] = dBC[t * 2] + lam * same(dtu[t]);
    dBC[t * 2 + 1] = dBC[t * 2 + 1] + same(g[t]) * h[i + 1];
    const Lanes4 carried = lam * (decay[t] * h[i]);
    all_s1[t] += sum_of_four(lam * spread(bc + t * 8));
    all_s2[t] += sum_of_four(carried * rate);
    dA = dA + carried * same(dt[t]);
    lam = lam * decay[t];
  }
  return dA;
}

// One side of one block. `part` receives the image's parameter gradients.
void backward(const ScanBwd& p, const ScanBwd::Side& s, const Place& at, const Lanes4* rates,
              const float* bc, Work& work, Lanes4* dBC, float* part) {
  const int N = p.N, groups = groups_of(N);
  make_steps<true>(p, s, at, work.steps);
  std::fill(work.s1.begin(), work.s1.end(), Lanes{});
  std::fill(work.s2.begin(), work.s2.end(), Lanes{});
  const bool in_range = bounded(work.steps.dt, rates, groups);
  for (int n = 0; n < N; n += 4) {
    const Lanes4 rate = rates[n / 4];
    make_decays(rate, in_range, work.steps);
    const Lanes4 dA =
        there_and_back(rate, bc + n / 4 * p.L * 8, p.L, s.reverse, work, dBC + n / 4 * p.L * 2);
    const Lanes4 dA_log = dA * rate * all_lanes<Lanes4>(1 / log2e);
    for (int k = 0; k < 4 && n + k < N; ++k)
      for (int i = 0; i < at.count; ++i) part[(at.e + i) * N + n + k] = dA_log.v[k][i];
  }
  const Lanes4 D = same(s.D ? load(static_cast<const float*>(s.D) + at.e, at.count) : Lanes{});
  Lanes4 dD = all_lanes<Lanes4>(0), dbias = dD;
  by_fours(p.L, [&](int64_t t, int many) {  // tokens beyond L have u = 0 and no s1 and s2
    const Lanes4 u = load_tokens(s.u, at.at(t), p.E, at.count, many);
    const Lanes4 g = load_four(&work.g[t]), s1 = load_four(&work.s1[t]);
    const Lanes4 s2 = load_four(&work.s2[t]) * all_lanes<Lanes4>(1 / log2e);
    const Lanes4 ddelta = (u * s1 + s2) * load_four(&work.steps.slope[t]);
    dD = dD + g * u;
    dbias = dbias + ddelta;
    if (s.du)
      store_tokens(D * g + load_four(&work.steps.dt[t]) * s1, s.du, at.at(t), p.E, at.count, many,
                   s.accumulate_du);
    if (s.ddelta)
      store_tokens(ddelta, s.ddelta, at.at(t), p.E, at.count, many, s.accumulate_ddelta);
  });
  store(part + p.E * N + at.e, sum_of_four(dD), at.count);
  store(part + p.E * (N + 1) + at.e, sum_of_four(dbias), at.count);
}

// g = scale dy silu(z) into `to`, and dz.
void backward_gate(const ScanBwd& p, const Place& at, Lanes* to) {
  const Lanes4 one = all_lanes<Lanes4>(1);
  by_fours(p.L, [&](int64_t t, int many) {
    const int64_t z_at = (at.b * p.L + t) * p.z_row + at.e;
    Lanes4 g = load_tokens(p.dy, at.at(t), p.E, at.count, many) *
               all_lanes<Lanes4>(static_cast<float>(p.scale));
    if (p.z) {
      const Lanes4 z = load_tokens(p.z, z_at, p.z_row, at.count, many), q = sigmoid_lanes(z);
      if (p.dz)
        store_tokens(
            g * load_tokens(p.sum, at.at(t), p.E, at.count, many) * q * (one + z * (one - q)), p.dz,
            (at.b * p.L + t) * p.dz_row + at.e, p.dz_row, at.count, many, p.accumulate_dz);
      g = g * z * q;
    }
    store_four(g, to + t);
  });
}

// dB and dC of one image and side: the sums over lanes of dBC (groups, L, 2).
void give_dBC(const ScanBwd& p, const ScanBwd::Side& s, int64_t b, const Lanes4* dBC) {
  auto give = [](void* to, int64_t at, Lanes v, bool add) {
    if (!to) return;
    float& x = static_cast<float*>(to)[at];
    x = (add ? x : 0.0f) + sum_lanes(v);
  };
  for (int64_t t = 0; t < p.L; ++t)
    for (int n = 0; n < p.N; ++n) {
      const Lanes4* from = dBC + (n / 4 * p.L + t) * 2;
      give(s.dBm, (b * p.L + t) * s.db_row + n, from[0].v[n % 4], s.accumulate_dBm);
      give(s.dCm, (b * p.L + t) * s.dc_row + n, from[1].v[n % 4], s.accumulate_dCm);
    }
}

// Adds the images' parts (B, sides, size) to the gradients of parameters, in their order; each
// element belongs to one thread.
void add_parts(const ScanBwd& p, const float* parts) {
  const int64_t size = partial_size(p), EN = int64_t{p.E} * p.N;
  for (int k = 0; k < p.sides; ++k) {
    const auto& s = p.side[k];
#pragma omp for schedule(static)
    for (int64_t from = 0; from < size; from += lanes) {
      const int count = static_cast<int>(std::min<int64_t>(size - from, lanes));
      Lanes sum{};
      for (int64_t b = 0; b < p.B; ++b) sum += load(parts + (b * p.sides + k) * size + from, count);
      for (int i = 0; i < count; ++i) {
        const int64_t at = from + i;
        float* to = at < EN         ? static_cast<float*>(s.dA_log)
                    : at < EN + p.E ? static_cast<float*>(s.dD)
                                    : static_cast<float*>(s.dbias);
        if (to) to[at < EN ? at : (at - EN) % p.E] += sum[i];
      }
    }
  }
}

}  // namespace

size_t scan_bwd_channel_lanes_scratch(const ScanBwd& p) {
  return rates_count(p) * sizeof(Lanes4) + p.B * p.sides * partial_size(p) * sizeof(float);
}

void scan_bwd_channel_lanes(const ScanBwd& p, const Launch& l) {
  const int blocks = blocks_of(p.E), groups = groups_of(p.N);
  const int64_t size = partial_size(p);
  Lanes4* rates = static_cast<Lanes4*>(l.scratch);
  float* parts = reinterpret_cast<float*>(rates + rates_count(p));
  make_rates(p, rates);
#pragma omp parallel
  {
    Work work(p);
#pragma omp for schedule(static)
    for (int64_t b = 0; b < p.B; ++b) {
      std::fill(work.dBC.begin(), work.dBC.end(), all_lanes<Lanes4>(0));
      for (int k = 0; k < p.sides; ++k)
        gather_bc(p, p.side[k], b, work.bc.data() + k * bc_count(p));
      for (int block = 0; block < blocks; ++block) {
        const Place at = place(p, b, block);
        backward_gate(p, at, work.g.data());
        for (int k = 0; k < p.sides; ++k)
          backward(p, p.side[k], at, rates + (k * blocks + block) * groups,
                   work.bc.data() + k * bc_count(p), work, work.dBC.data() + k * groups * p.L * 2,
                   parts + (b * p.sides + k) * size);
      }
      for (int k = 0; k < p.sides; ++k)
        give_dBC(p, p.side[k], b, work.dBC.data() + k * groups * p.L * 2);
    }
    add_parts(p, parts);
  }
}

}  // namespace krait
