// CPU row: a block of channels (a vector: 8, or 16 with AVX-512) of one image at a time, four
// states of each together, images on several threads. Sums over images and channels are taken in a
// fixed order, whatever the number of threads.
#include <algorithm>
#include <vector>

#include "kernels/common/lanes.h"
#include "kernels/selective_scan/rows.h"

namespace krait {
namespace {

// A vector of channels of one image; the last block of E channels may have fewer.
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

// What is read from (B, L, E) and written to it goes through work memory, some blocks at a time:
// token by token there, so that whole rows are read in order, and block by block here.
// (blocks, tokens), with room for a multiple of four tokens; the rows are not a power of two apart,
// or they would meet in the cache.
class ByToken {
 public:
  ByToken(int blocks, int64_t L) : row_((L + 3) / 4 * 4 + 2), v_(blocks * row_) {}
  Lanes* of(int block) { return v_.data() + block * row_; }
  const Lanes* of(int block) const { return v_.data() + block * row_; }
  void clear() { std::fill(v_.begin(), v_.end(), Lanes{}); }

 private:
  int64_t row_;
  std::vector<Lanes> v_;
};
// Blocks [first, first + count) of one image.
struct Chunk {
  int64_t b;
  int first, count;
};
// Calls f(block in the chunk, place, t, many) for four tokens at a time, `many` of which exist. The
// usual call has constants for what is there; it wants to be inlined (flatten).
template <class P, class F>
KRAIT_LANES void for_tokens(const P& p, const Chunk& c, F&& f) {
  for (int64_t t = 0; t < p.L; t += 4)
    for (int i = 0; i < c.count; ++i) {
      Place at = place(p, c.b, c.first + i);
      if (t + 4 <= p.L && at.count == lanes) {
        at.count = lanes;
        f(i, at, t, 4);
      } else {
        f(i, at, t, static_cast<int>(std::min<int64_t>(p.L - t, 4)));
      }
    }
}
// A vector of channels of `many` tokens, `row` elements apart, from element `from` on.
KRAIT_LANES Lanes4 load_tokens(const void* p, int64_t from, int64_t row, int count, int many) {
  const float* x = static_cast<const float*>(p) + from;
  for (int i = 4; i < 8; ++i) __builtin_prefetch(x + i * row);  // the next four
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
KRAIT_LANES Lanes sum_of_four(const Lanes4& x) {
  return (x.v[0] + x.v[1]) + (x.v[2] + x.v[3]);
}
// Sum over i of x_i y_i, the y given for all lanes or for each.
KRAIT_LANES Lanes dot(const Lanes4& x, const float* y) {
  return (x.v[0] * y[0] + x.v[1] * y[1]) + (x.v[2] * y[2] + x.v[3] * y[3]);
}
KRAIT_LANES Lanes dot(const Lanes4& x, const Lanes4& y) {
  return (x.v[0] * y.v[0] + x.v[1] * y.v[1]) + (x.v[2] * y.v[2] + x.v[3] * y.v[3]);
}

// What one side of a chunk needs for every group of states.
struct Steps {
  Steps(int blocks, int64_t L) : dt(blocks, L), slope(blocks, L), dtu(blocks, L), largest(blocks) {}
  ByToken dt, slope, dtu;      // the step, its derivative by delta, dt u
  std::vector<Lanes> largest;  // (blocks): largest dt
};
template <bool slopes, class P, class S>
[[gnu::flatten]] void make_steps(const P& p, const S& s, const Chunk& c, Steps& to) {
  std::fill(to.largest.begin(), to.largest.end(), Lanes{});
  for_tokens(p, c, [&](int i, const Place& at, int64_t t, int many) {
    Lanes4 x = load_tokens(s.delta, at.at(t), p.E, at.count, many);
    if (s.bias) x = x + same(load(static_cast<const float*>(s.bias) + at.e, at.count));
    SoftplusLanes<Lanes4> made{x, all_lanes<Lanes4>(1)};
    if (p.softplus) made = softplus_lanes(x);
    const Lanes4 dt = made.value;
    store_four(dt, to.dt.of(i) + t);
    store_four(dt * load_tokens(s.u, at.at(t), p.E, at.count, many), to.dtu.of(i) + t);
    if (slopes) store_four(made.slope, to.slope.of(i) + t);
    to.largest[i] =
        larger(larger(larger(dt.v[0], dt.v[1]), larger(dt.v[2], dt.v[3])), to.largest[i]);
  });
}
// Is no dt a2 below -126, where exp2_product ends?
bool bounded(Lanes largest_dt, const Lanes4* rates, int groups) {
  Lanes fastest{};
  for (int g = 0; g < groups; ++g)
    for (const Lanes& v : rates[g].v) fastest = smaller(v, fastest);
  const Lanes least = largest_dt * fastest;
  for (int i = 0; i < lanes; ++i)
    if (!(least[i] > -126)) return false;
  return true;
}
// exp(dt A) of one block and group, by token. A loop of its own: nothing in it waits for the token
// before.
void make_decays(const Lanes* dt, int64_t L, const Lanes4& rate, bool bounded, Lanes4* decay) {
  if (bounded)
    for (int64_t t = 0; t < L; ++t) decay[t] = exp2_product(same(dt[t]), rate);
  else
    for (int64_t t = 0; t < L; ++t) decay[t] = exp2_lanes(same(dt[t]) * rate);
}

// Four states h of one block over `count` tokens from t on, forwards (way = 1) or backwards (-1).
// Adds C h to `sum`. bc (L, 8)
Lanes4 walk(Lanes4 h, const Lanes4* decay, const Lanes* dtu, const float* bc, int64_t t,
            int64_t count, int way, Lanes* sum) {
  for (; count > 0; --count, t += way) {
    const float *Bm = bc + t * 8, *Cm = Bm + 4;
    h = four([&](int i) { return decay[t].v[i] * h.v[i] + dtu[t] * Bm[i]; });
    sum[t] += dot(h, Cm);
  }
  return h;
}

// One side of one block: adds C h to `sum`, by token.
void forward(const ScanFwd& p, const ScanFwd::Side& s, const Place& at, const Lanes4* rates,
             const float* bc, const Lanes* dt, const Lanes* dtu, bool in_range, Lanes4* decay,
             Lanes* sum) {
  const int64_t L = p.L, every = s.states ? scan_state_every(p.N) : L;
  for (int n = 0; n < p.N; n += 4) {
    make_decays(dt, L, rates[n / 4], in_range, decay);
    Lanes4 h = all_lanes<Lanes4>(0);
    for (int64_t step = 0; step < L; step += every) {
      if (s.states) {
        const int64_t row = at.b * scan_state_count(L, p.N) + step / every;
        float* to = static_cast<float*>(s.states) + (row * p.E + at.e) * p.N + n;
        for (int k = 0; k < 4 && n + k < p.N; ++k)
          for (int i = 0; i < at.count; ++i) to[i * p.N + k] = h.v[k][i];
      }
      h = walk(h, decay, dtu, bc + n / 4 * L * 8, s.reverse ? L - 1 - step : step,
               std::min(L - step, every), s.reverse ? -1 : 1, sum);
    }
  }
}

// What a thread of the forward pass works with.
struct ForwardWork {
  ForwardWork(const ScanFwd& p, int blocks)
      : bc(bc_count(p)), sum(blocks, p.L), steps(blocks, p.L), decay(p.L) {}
  std::vector<float> bc;  // (groups, L, 8), see gather_bc
  ByToken sum;            // over the sides
  Steps steps;
  std::vector<Lanes4> decay;  // of one group of one block
};
[[gnu::flatten]] void forward_chunk(const ScanFwd& p, const Chunk& c, const Lanes4* all_rates,
                                    ForwardWork& work) {
  const int blocks = blocks_of(p.E), groups = groups_of(p.N);
  work.sum.clear();
  for (int k = 0; k < p.sides; ++k) {
    const auto& s = p.side[k];
    gather_bc(p, s, c.b, work.bc.data());
    make_steps<false>(p, s, c, work.steps);
    for (int i = 0; i < c.count; ++i) {
      const Lanes4* rates = all_rates + (k * blocks + c.first + i) * groups;
      forward(p, s, place(p, c.b, c.first + i), rates, work.bc.data(), work.steps.dt.of(i),
              work.steps.dtu.of(i), bounded(work.steps.largest[i], rates, groups),
              work.decay.data(), work.sum.of(i));
    }
  }
  for_tokens(p, c, [&](int i, const Place& at, int64_t t, int many) {
    Lanes4 s = load_four(work.sum.of(i) + t);
    for (int k = 0; k < p.sides; ++k)
      if (const void* D = p.side[k].D)
        s = s + same(load(static_cast<const float*>(D) + at.e, at.count)) *
                    load_tokens(p.side[k].u, at.at(t), p.E, at.count, many);
    if (p.sum) store_tokens(s, p.sum, at.at(t), p.E, at.count, many);
    Lanes4 y = s * all_lanes<Lanes4>(static_cast<float>(p.scale));
    if (p.z)
      y = y *
          silu_lanes(load_tokens(p.z, (at.b * p.L + t) * p.z_row + at.e, p.z_row, at.count, many));
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
  const int blocks = blocks_of(p.E);
  const int most = p.B < 8 ? 4 : 16;  // few images: more, smaller pieces of work
  const int chunks = (blocks + most - 1) / most;
  Lanes4* rates = static_cast<Lanes4*>(l.scratch);
  make_rates(p, rates);
#pragma omp parallel
  {
    ForwardWork work(p, most);
#pragma omp for collapse(2) schedule(static)
    for (int64_t b = 0; b < p.B; ++b)
      for (int n = 0; n < chunks; ++n)
        forward_chunk(p, {b, n * most, std::min(most, blocks - n * most)}, rates, work);
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

// What a thread of the backward pass works with.
struct BackwardWork {
  BackwardWork(const ScanBwd& p, int blocks)
      : g(blocks, p.L),
        s1(blocks, p.L),
        s2(blocks, p.L),
        dD(blocks),
        dbias(blocks),
        steps(blocks, p.L),
        decay(p.L),
        h(p.L + 1),
        bc(p.sides * bc_count(p)),
        dBC(p.sides * groups_of(p.N) * p.L * 2) {}
  ByToken g;                     // gradient of the sum over sides
  ByToken s1, s2;                // sums over states of lam B, and of lam carried a2
  std::vector<Lanes> dD, dbias;  // (blocks)
  Steps steps;
  std::vector<Lanes4> decay;  // of one group of one block, by token
  std::vector<Lanes4> h;      // by step of the scan: states before it, and at the end
  std::vector<float> bc;      // (sides, groups, L, 8), see gather_bc
  std::vector<Lanes4> dBC;    // (sides, groups, L, 2): sums over channels, lane by lane
};

// Four states of one block, given their decays: forward, keeping every state, then back. Adds to s1
// and s2 and to dBC (L, 2); returns the sum over tokens of lam carried dt, the gradient of A.
Lanes4 there_and_back(const Lanes4& rate, const float* bc, int64_t L, bool reverse, int block,
                      BackwardWork& work, Lanes4* dBC) {
  const Lanes *dt = work.steps.dt.of(block), *dtu = work.steps.dtu.of(block);
  const Lanes* g = work.g.of(block);
  Lanes *all_s1 = work.s1.of(block), *all_s2 = work.s2.of(block);
  const Lanes4* decay = work.decay.data();
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
    const float *Bm = bc + t * 8, *Cm = Bm + 4;
    lam = four([&](int k) { return lam.v[k] + g[t] * Cm[k]; });
    dBC[t * 2] = dBC[t * 2] + lam * same(dtu[t]);
    dBC[t * 2 + 1] = dBC[t * 2 + 1] + same(g[t]) * h[i + 1];
    const Lanes4 carried = lam * (decay[t] * h[i]);
    all_s1[t] += dot(lam, Bm);
    all_s2[t] += dot(carried, rate);
    dA = dA + carried * same(dt[t]);
    lam = lam * decay[t];
  }
  return dA;
}

// g = scale dy silu(z), and dz, of a chunk.
[[gnu::flatten]] void backward_gate(const ScanBwd& p, const Chunk& c, ByToken& to) {
  const Lanes4 one = all_lanes<Lanes4>(1);
  for_tokens(p, c, [&](int i, const Place& at, int64_t t, int many) {
    const int64_t row = at.b * p.L + t;
    Lanes4 g = load_tokens(p.dy, at.at(t), p.E, at.count, many) *
               all_lanes<Lanes4>(static_cast<float>(p.scale));
    if (p.z) {
      const Lanes4 z = load_tokens(p.z, row * p.z_row + at.e, p.z_row, at.count, many);
      const Lanes4 q = sigmoid_lanes(z);
      if (p.dz)
        store_tokens(
            g * load_tokens(p.sum, at.at(t), p.E, at.count, many) * q * (one + z * (one - q)), p.dz,
            row * p.dz_row + at.e, p.dz_row, at.count, many, p.accumulate_dz);
      g = g * z * q;
    }
    store_four(g, to.of(i) + t);
  });
}

// One side of a chunk. `part` receives the image's parameter gradients.
[[gnu::flatten]] void backward_side(const ScanBwd& p, const ScanBwd::Side& s, const Chunk& c,
                                    const Lanes4* rates, const float* bc, BackwardWork& work,
                                    Lanes4* dBC, float* part) {
  const int N = p.N, groups = groups_of(N);
  make_steps<true>(p, s, c, work.steps);
  work.s1.clear();
  work.s2.clear();
  for (int block = 0; block < c.count; ++block) {
    const Place at = place(p, c.b, c.first + block);
    const Lanes4* own = rates + (c.first + block) * groups;
    const bool in_range = bounded(work.steps.largest[block], own, groups);
    for (int n = 0; n < N; n += 4) {
      const Lanes4 rate = own[n / 4];
      make_decays(work.steps.dt.of(block), p.L, rate, in_range, work.decay.data());
      const Lanes4 dA = there_and_back(rate, bc + n / 4 * p.L * 8, p.L, s.reverse, block, work,
                                       dBC + n / 4 * p.L * 2);
      const Lanes4 dA_log = dA * rate * all_lanes<Lanes4>(1 / log2e);
      for (int k = 0; k < 4 && n + k < N; ++k)
        for (int i = 0; i < at.count; ++i) part[(at.e + i) * N + n + k] = dA_log.v[k][i];
    }
    work.dD[block] = work.dbias[block] = Lanes{};
  }
  for_tokens(p, c, [&](int i, const Place& at, int64_t t, int many) {
    // Tokens beyond L have u = 0, and no s1 and s2.
    const Lanes4 u = load_tokens(s.u, at.at(t), p.E, at.count, many);
    const Lanes4 g = load_four(work.g.of(i) + t), s1 = load_four(work.s1.of(i) + t);
    const Lanes4 s2 = load_four(work.s2.of(i) + t) * all_lanes<Lanes4>(1 / log2e);
    const Lanes4 ddelta = (u * s1 + s2) * load_four(work.steps.slope.of(i) + t);
    if (s.du) {
      Lanes4 du = load_four(work.steps.dt.of(i) + t) * s1;
      if (s.D) du = du + same(load(static_cast<const float*>(s.D) + at.e, at.count)) * g;
      store_tokens(du, s.du, at.at(t), p.E, at.count, many, s.accumulate_du);
    }
    if (s.ddelta)
      store_tokens(ddelta, s.ddelta, at.at(t), p.E, at.count, many, s.accumulate_ddelta);
    work.dD[i] += sum_of_four(g * u);
    work.dbias[i] += sum_of_four(ddelta);
  });
  for (int block = 0; block < c.count; ++block) {
    const Place at = place(p, c.b, c.first + block);
    store(part + p.E * N + at.e, work.dD[block], at.count);
    store(part + p.E * (N + 1) + at.e, work.dbias[block], at.count);
  }
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
  constexpr int most = 8;  // blocks of a chunk
  const int blocks = blocks_of(p.E), groups = groups_of(p.N);
  const int64_t size = partial_size(p);
  Lanes4* rates = static_cast<Lanes4*>(l.scratch);
  float* parts = reinterpret_cast<float*>(rates + rates_count(p));
  make_rates(p, rates);
#pragma omp parallel
  {
    BackwardWork work(p, most);
#pragma omp for schedule(static)
    for (int64_t b = 0; b < p.B; ++b) {
      std::fill(work.dBC.begin(), work.dBC.end(), all_lanes<Lanes4>(0));
      for (int k = 0; k < p.sides; ++k)
        gather_bc(p, p.side[k], b, work.bc.data() + k * bc_count(p));
      for (int first = 0; first < blocks; first += most) {
        const Chunk c{b, first, std::min(most, blocks - first)};
        backward_gate(p, c, work.g);
        for (int k = 0; k < p.sides; ++k)
          backward_side(p, p.side[k], c, rates + k * blocks * groups,
                        work.bc.data() + k * bc_count(p), work,
                        work.dBC.data() + k * groups * p.L * 2, parts + (b * p.sides + k) * size);
      }
      for (int k = 0; k < p.sides; ++k)
        give_dBC(p, p.side[k], b, work.dBC.data() + k * groups * p.L * 2);
    }
    add_parts(p, parts);
  }
}

}  // namespace krait
