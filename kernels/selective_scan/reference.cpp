// The definition of the selective scan and of its gradient: plain loops over images, channels,
// tokens and states. Every variant is checked against this file.
#include <cmath>
#include <vector>

#include "kernels/selective_scan/rows.h"

namespace krait {
namespace {

template <class A>
A sigmoid(A x) {
  return A(1) / (A(1) + std::exp(-x));
}
template <class A>
A step_size(A x, bool softplus) {
  return !softplus || x > A(20) ? x : std::log1p(std::exp(x));
}

// The inputs of one side as numbers.
template <class T, class P, class S>
struct View {
  using A = accum_t<T>;
  const P& p;
  const S& s;
  int64_t token(int64_t step) const { return s.reverse ? p.L - 1 - step : step; }
  A u(int64_t b, int64_t t, int e) const { return at(s.u, b, t, e); }
  A delta(int64_t b, int64_t t, int e) const {
    if (s.delta) return at(s.delta, b, t, e);
    A sum = 0;
    for (int r = 0; r < p.R; ++r)
      sum += A(static_cast<const T*>(s.dt)[(b * p.L + t) * s.dt_row + r]) * dt_w(e, r);
    return sum;
  }
  A dt_w(int e, int r) const { return A(static_cast<const T*>(s.dt_w)[e * p.R + r]); }
  A raw_dt(int64_t b, int64_t t, int e) const {
    return delta(b, t, e) + (s.bias ? static_cast<const A*>(s.bias)[e] : A(0));
  }
  A a(int e, int n) const { return -std::exp(static_cast<const A*>(s.A_log)[e * p.N + n]); }
  A Bm(int64_t b, int64_t t, int n) const {
    return A(static_cast<const T*>(s.Bm)[(b * p.L + t) * s.b_row + n]);
  }
  A Cm(int64_t b, int64_t t, int n) const {
    return A(static_cast<const T*>(s.Cm)[(b * p.L + t) * s.c_row + n]);
  }
  A D(int e) const { return s.D ? static_cast<const A*>(s.D)[e] : A(0); }
  A z(int64_t b, int64_t t, int e) const {
    return A(static_cast<const T*>(p.z)[(b * p.L + t) * p.z_row + e]);
  }
  A at(const void* x, int64_t b, int64_t t, int e) const {
    return A(static_cast<const T*>(x)[(b * p.L + t) * p.E + e]);
  }
};

template <class T>
void forward(const ScanFwd& p) {
  using A = accum_t<T>;
  const int every = scan_state_every(p.N);
  const int64_t kept = scan_state_count(p.L, p.N);
  std::vector<A> h(p.N), sum(p.L);
  for (int64_t b = 0; b < p.B; ++b)
    for (int e = 0; e < p.E; ++e) {
      for (A& v : sum) v = 0;
      for (int k = 0; k < p.sides; ++k) {
        const View<T, ScanFwd, ScanFwd::Side> v{p, p.side[k]};
        for (A& x : h) x = 0;
        for (int64_t step = 0; step < p.L; ++step) {
          const int64_t t = v.token(step);
          if (p.side[k].states && step % every == 0)
            for (int n = 0; n < p.N; ++n)
              static_cast<T*>(p.side[k].states)[((b * kept + step / every) * p.E + e) * p.N + n] =
                  T(h[n]);
          const A dt = step_size(v.raw_dt(b, t, e), p.softplus), u = v.u(b, t, e);
          A s = v.D(e) * u;
          for (int n = 0; n < p.N; ++n) {
            h[n] = std::exp(dt * v.a(e, n)) * h[n] + dt * v.Bm(b, t, n) * u;
            s += v.Cm(b, t, n) * h[n];
          }
          sum[t] += s;
        }
      }
      for (int64_t t = 0; t < p.L; ++t) {
        const int64_t i = (b * p.L + t) * p.E + e;
        A y = A(p.scale) * sum[t];
        if (p.z) {
          const A z = View<T, ScanFwd, ScanFwd::Side>{p, p.side[0]}.z(b, t, e);
          y *= z * sigmoid(z);
        }
        if (p.sum) static_cast<T*>(p.sum)[i] = T(sum[t]);
        static_cast<T*>(p.y)[i] = T(y);
      }
    }
}

template <class T, class A>
void put(void* to, int64_t i, A value, bool accumulate) {
  T& x = static_cast<T*>(to)[i];
  x = T(accumulate ? static_cast<A>(x) + value : value);
}

// One side. The adjoint state lam_t = C_t g_t + exp(dt_{t+1} A) lam_{t+1} runs against the scan;
// the states are computed again, from what the forward pass kept where it kept something. They are
// used as a row may keep them, in the type of the activations.
template <class T>
void backward(const ScanBwd& p, const ScanBwd::Side& s) {
  using A = accum_t<T>;
  const View<T, ScanBwd, ScanBwd::Side> v{p, s};
  const int N = p.N, every = scan_state_every(N);
  const int64_t kept = scan_state_count(p.L, N);
  std::vector<A> h((p.L + 1) * N), lam(N), dB(p.L * N), dC(p.L * N), ddt_in(p.L * p.R);
  for (int64_t b = 0; b < p.B; ++b) {
    for (A& x : dB) x = 0;
    for (A& x : dC) x = 0;
    for (A& x : ddt_in) x = 0;
    for (int e = 0; e < p.E; ++e) {
      for (int n = 0; n < N; ++n) h[n] = lam[n] = 0;
      for (int64_t step = 0; step < p.L; ++step) {
        const int64_t t = v.token(step);
        const A dt = step_size(v.raw_dt(b, t, e), p.softplus), u = v.u(b, t, e);
        if (s.states && step % every == 0)
          for (int n = 0; n < N; ++n)
            h[step * N + n] =
                A(static_cast<const T*>(s.states)[((b * kept + step / every) * p.E + e) * N + n]);
        for (int n = 0; n < N; ++n)
          h[(step + 1) * N + n] =
              std::exp(dt * v.a(e, n)) * h[step * N + n] + dt * v.Bm(b, t, n) * u;
      }
      for (int64_t step = p.L - 1; step >= 0; --step) {
        const int64_t t = v.token(step), i = (b * p.L + t) * p.E + e;
        const A raw = v.raw_dt(b, t, e), dt = step_size(raw, p.softplus), u = v.u(b, t, e);
        A g = A(p.scale) * v.at(p.dy, b, t, e);  // gradient of s_t
        if (p.z) {
          const A z = v.z(b, t, e);
          g *= z * sigmoid(z);
        }
        A du = v.D(e) * g, ddt = 0;
        for (int n = 0; n < N; ++n) {
          const A a = v.a(e, n), decay = std::exp(dt * a), carried = decay * A(T(h[step * N + n]));
          lam[n] += v.Cm(b, t, n) * g;
          dC[t * N + n] += g * A(T(h[(step + 1) * N + n]));
          dB[t * N + n] += lam[n] * dt * u;
          du += lam[n] * dt * v.Bm(b, t, n);
          ddt += lam[n] * (v.Bm(b, t, n) * u + a * carried);
          // dA_log = dA * A
          if (s.dA_log) static_cast<A*>(s.dA_log)[e * N + n] += lam[n] * dt * carried * a;
          lam[n] *= decay;
        }
        const A ddelta = p.softplus && raw <= A(20) ? ddt * sigmoid(raw) : ddt;
        if (s.dD) static_cast<A*>(s.dD)[e] += g * u;
        if (s.dbias) static_cast<A*>(s.dbias)[e] += ddelta;
        if (s.du) put<T>(s.du, i, du, s.accumulate_du);
        if (s.ddelta) put<T>(s.ddelta, i, ddelta, s.accumulate_ddelta);
        for (int r = 0; r < p.R; ++r) ddt_in[t * p.R + r] += A(T(ddelta)) * v.dt_w(e, r);
      }
    }
    for (int64_t t = 0; s.ddt && t < p.L; ++t)
      for (int r = 0; r < p.R; ++r)
        put<T>(s.ddt, (b * p.L + t) * s.ddt_row + r, ddt_in[t * p.R + r], false);
    for (int64_t t = 0; t < p.L; ++t)
      for (int n = 0; n < N; ++n) {
        const int64_t r = b * p.L + t;
        if (s.dBm) put<T>(s.dBm, r * s.db_row + n, dB[t * N + n], s.accumulate_dBm);
        if (s.dCm) put<T>(s.dCm, r * s.dc_row + n, dC[t * N + n], s.accumulate_dCm);
      }
  }
}

template <class T>
void backward_gate(const ScanBwd& p) {
  using A = accum_t<T>;
  for (int64_t r = 0; r < p.B * p.L; ++r)
    for (int e = 0; e < p.E; ++e) {
      const A z = A(static_cast<const T*>(p.z)[r * p.z_row + e]), q = sigmoid(z);
      const A sum = A(static_cast<const T*>(p.sum)[r * p.E + e]);
      const A dy = A(p.scale) * A(static_cast<const T*>(p.dy)[r * p.E + e]);
      put<T>(p.dz, r * p.dz_row + e, dy * sum * q * (A(1) + z * (A(1) - q)), p.accumulate_dz);
    }
}

}  // namespace

void scan_fwd_reference(const ScanFwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() { forward<T>(p); });
}

void scan_bwd_reference(const ScanBwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    if (p.dz) backward_gate<T>(p);
    for (int k = 0; k < p.sides; ++k) backward<T>(p, p.side[k]);
  });
}

}  // namespace krait
