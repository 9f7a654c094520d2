// The Mamba block (Gu & Dao 2023, algorithm 2 and figure 3), forward and backward, nothing hidden:
// one sequence, double precision, plain loops. Needs no other file of this project. Read it first.
//   g++ -std=c++20 -O2 tools/mamba_minimal.cpp -o mamba_minimal && ./mamba_minimal
// It is a layer that turns L tokens of d_model numbers into as many:
// input - in_proj -+- x - conv1d - SiLU - u -+------------------------- scan - y - gate - out_proj
//                  |                         +- x_proj -+- B -----------+         |
//                  |                                    +- C -----------+         |
//                  |                                    +- dt_proj - Delta        |
//                  +- z --------------------------------------------------- SiLU -+
// Only conv1d and the scan let a token see others, and only earlier ones. Delta, B and C are made
// from the token itself: this is the "selection", by which the scan differs from a fixed filter.
// Vision Mamba does all between in_proj and gate twice, once from the last token to the first.
#include <cmath>
#include <cstdio>
#include <numeric>
#include <random>
#include <vector>

namespace mamba {
using Vector = std::vector<double>;
struct Matrix {
  int rows, columns;
  Vector data;
  Matrix(int rows = 0, int columns = 0) : rows(rows), columns(columns), data(rows * columns) {}
  double& operator()(int i, int j) { return data[i * columns + j]; }
  double operator()(int i, int j) const { return data[i * columns + j]; }
};

struct Sizes {
  int L;        // tokens: index t
  int d_model;  // numbers of a token outside the block
  int d_state;  // numbers that a channel remembers: index n
  int d_conv;   // tokens that conv1d sees: index i
  int d_inner;  // channels inside, 2 d_model as a rule: index e
  int dt_rank;  // numbers that Delta is made of, d_model / 16 as a rule: index r
};

// What is learnt, under the published names. A gradient has the same form.
struct Parameters {
  Sizes s;
  Matrix in_proj{2 * s.d_inner, s.d_model};
  Matrix conv1d_weight{s.d_inner, s.d_conv};
  Vector conv1d_bias = Vector(s.d_inner);
  Matrix x_proj{s.dt_rank + 2 * s.d_state, s.d_inner};
  Matrix dt_proj_weight{s.d_inner, s.dt_rank};
  Vector dt_proj_bias = Vector(s.d_inner);
  Matrix A_log{s.d_inner, s.d_state};  // A = -exp(A_log) is negative whatever is learnt
  Vector D = Vector(s.d_inner);
  Matrix out_proj{s.d_model, s.d_inner};
};

// What the forward pass leaves for the backward pass.
struct Kept {
  Matrix input;           // (L, d_model)
  Matrix x, z;            // (L, d_inner)
  Matrix conv, u;         // (L, d_inner): before and after SiLU; u is x in the paper's algorithm
  Matrix dt;              // (L, dt_rank)
  Matrix B, C;            // (L, d_state)
  Matrix delta, Delta;    // (L, d_inner): before and after softplus
  std::vector<Matrix> h;  // L + 1 of (d_inner, d_state): h[t] is the state before token t
  Matrix y, gated;        // (L, d_inner): before and after the gate
};

const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
const auto silu = [](double x) { return x * sigmoid(x); };
const auto silu_slope = [](double x) { return sigmoid(x) * (1 + x * (1 - sigmoid(x))); };
const auto softplus = [](double x) { return std::log1p(std::exp(x)); };  // slope: sigmoid(x)

// For each token, `out` rows of w (.., in) from `first` on: x (L, in) -> (L, out)
Matrix linear(const Matrix& x, const Matrix& w, int first, int out) {
  Matrix y(x.rows, out);
  for (int t = 0; t < x.rows; ++t)
    for (int o = 0; o < out; ++o)
      for (int i = 0; i < w.columns; ++i) y(t, o) += x(t, i) * w(first + o, i);
  return y;
}
// Its gradient, added to dx and dw: y(t, o) has slope w(o, i) by x(t, i), x(t, i) by w(o, i).
void linear_backward(const Matrix& dy, const Matrix& x, const Matrix& w, int first, Matrix& dx,
                     Matrix& dw) {
  for (int t = 0; t < x.rows; ++t)
    for (int o = 0; o < dy.columns; ++o)
      for (int i = 0; i < w.columns; ++i) {
        dx(t, i) += dy(t, o) * w(first + o, i);
        dw(first + o, i) += dy(t, o) * x(t, i);
      }
}

// input (L, d_model) -> (L, d_model)
Matrix forward(const Parameters& p, const Matrix& input, Kept& k) {
  const Sizes& s = p.s;
  k.input = input;
  // 1. Two copies of every token, wider: x goes through the scan, z decides what of it passes.
  k.x = linear(input, p.in_proj, 0, s.d_inner);
  k.z = linear(input, p.in_proj, s.d_inner, s.d_inner);

  // 2. Each channel looks at the last few tokens. Before the first there are zeros.
  k.conv = k.u = Matrix(s.L, s.d_inner);
  for (int t = 0; t < s.L; ++t)
    for (int e = 0; e < s.d_inner; ++e) {
      k.conv(t, e) = p.conv1d_bias[e];
      for (int i = 0; i < s.d_conv; ++i)  // the last tap is the token itself
        if (const int from = t - (s.d_conv - 1) + i; from >= 0)
          k.conv(t, e) += p.conv1d_weight(e, i) * k.x(from, e);
      k.u(t, e) = silu(k.conv(t, e));
    }

  // 3. The selection: each token says how long it lasts (Delta), what it writes (B) and reads (C).
  k.dt = linear(k.u, p.x_proj, 0, s.dt_rank);
  k.B = linear(k.u, p.x_proj, s.dt_rank, s.d_state);
  k.C = linear(k.u, p.x_proj, s.dt_rank + s.d_state, s.d_state);
  k.delta = k.Delta = linear(k.dt, p.dt_proj_weight, 0, s.d_inner);
  for (int t = 0; t < s.L; ++t)
    for (int e = 0; e < s.d_inner; ++e) {
      k.delta(t, e) += p.dt_proj_bias[e];
      k.Delta(t, e) = softplus(k.delta(t, e));
    }

  // 4. The scan. The d_state numbers h of a channel obey dh/dt = A h + B u, A < 0. Over a time
  // Delta h fades by exp(Delta A), exactly; what B u adds is taken to first order: Delta B u.
  k.h.assign(s.L + 1, Matrix(s.d_inner, s.d_state));
  k.y = k.gated = Matrix(s.L, s.d_inner);
  for (int t = 0; t < s.L; ++t)
    for (int e = 0; e < s.d_inner; ++e) {
      k.y(t, e) = p.D[e] * k.u(t, e);  // past the state
      for (int n = 0; n < s.d_state; ++n) {
        const double A = -std::exp(p.A_log(e, n)), keep = std::exp(k.Delta(t, e) * A);
        k.h[t + 1](e, n) = keep * k.h[t](e, n) + k.Delta(t, e) * k.B(t, n) * k.u(t, e);
        k.y(t, e) += k.C(t, n) * k.h[t + 1](e, n);
      }
      k.gated(t, e) = k.y(t, e) * silu(k.z(t, e));  // 5. The gate
    }

  // 6. Back to the width of the model. (Around the block stand norm and residual addition.)
  return linear(k.gated, p.out_proj, 0, s.d_model);
}

// dout (L, d_model): the gradient of some number by the block's result. Adds that by the parameters
// to `d` and returns that by the input, (L, d_model). The steps of forward(), last one first.
Matrix backward(const Parameters& p, const Kept& k, const Matrix& dout, Parameters& d) {
  const Sizes& s = p.s;
  // 6. and 5. gated = y silu(z)
  Matrix dgated(s.L, s.d_inner), dy(s.L, s.d_inner), dz(s.L, s.d_inner);
  linear_backward(dout, k.gated, p.out_proj, 0, dgated, d.out_proj);
  for (int t = 0; t < s.L; ++t)
    for (int e = 0; e < s.d_inner; ++e) {
      dy(t, e) = dgated(t, e) * silu(k.z(t, e));
      dz(t, e) = dgated(t, e) * k.y(t, e) * silu_slope(k.z(t, e));
    }

  // 4. h[t + 1] is used twice: by y(t), with C, and by h[t + 2], with that token's factor. So its
  // gradient dh obeys a recurrence of its own, from the last token to the first. `carried` is keep
  // h[t]: the slope of keep is A keep by Delta, and Delta keep by A.
  Matrix du(s.L, s.d_inner), ddelta(s.L, s.d_inner), dB(s.L, s.d_state), dC(s.L, s.d_state);
  Matrix dh(s.d_inner, s.d_state);
  for (int t = s.L - 1; t >= 0; --t)
    for (int e = 0; e < s.d_inner; ++e) {
      const double u = k.u(t, e), Delta = k.Delta(t, e);
      du(t, e) = dy(t, e) * p.D[e];
      d.D[e] += dy(t, e) * u;
      double dDelta = 0;
      for (int n = 0; n < s.d_state; ++n) {
        const double A = -std::exp(p.A_log(e, n)), keep = std::exp(Delta * A);
        const double carried = keep * k.h[t](e, n);
        dC(t, n) += dy(t, e) * k.h[t + 1](e, n);  // a token's C and B serve all channels: sums
        dh(e, n) += dy(t, e) * k.C(t, n);         // now complete
        dB(t, n) += dh(e, n) * Delta * u;
        du(t, e) += dh(e, n) * Delta * k.B(t, n);
        dDelta += dh(e, n) * (A * carried + k.B(t, n) * u);
        d.A_log(e, n) += dh(e, n) * Delta * carried * A;  // A = -exp(A_log): dA/dA_log = A
        dh(e, n) *= keep;                                 // what goes to the token before
      }
      ddelta(t, e) = dDelta * sigmoid(k.delta(t, e));
      d.dt_proj_bias[e] += ddelta(t, e);
    }

  // 3. u went into the scan and into x_proj, to make three things: its gradients add.
  Matrix ddt(s.L, s.dt_rank);
  linear_backward(ddelta, k.dt, p.dt_proj_weight, 0, ddt, d.dt_proj_weight);
  linear_backward(ddt, k.u, p.x_proj, 0, du, d.x_proj);
  linear_backward(dB, k.u, p.x_proj, s.dt_rank, du, d.x_proj);
  linear_backward(dC, k.u, p.x_proj, s.dt_rank + s.d_state, du, d.x_proj);

  // 2. Tap i took token t - (d_conv - 1) + i to token t; so its gradient goes back there.
  Matrix dx(s.L, s.d_inner);
  for (int t = 0; t < s.L; ++t)
    for (int e = 0; e < s.d_inner; ++e) {
      const double dconv = du(t, e) * silu_slope(k.conv(t, e));
      d.conv1d_bias[e] += dconv;
      for (int i = 0; i < s.d_conv; ++i)
        if (const int from = t - (s.d_conv - 1) + i; from >= 0) {
          dx(from, e) += p.conv1d_weight(e, i) * dconv;
          d.conv1d_weight(e, i) += k.x(from, e) * dconv;
        }
    }

  // 1. input became x and z.
  Matrix dinput(s.L, s.d_model);
  linear_backward(dx, k.input, p.in_proj, 0, dinput, d.in_proj);
  linear_backward(dz, k.input, p.in_proj, s.d_inner, dinput, d.in_proj);
  return dinput;
}

}  // namespace mamba

#ifndef MAMBA_MINIMAL_NO_MAIN  // set by the test, which includes this file
int main() {
  using namespace mamba;
  const Sizes s{.L = 8, .d_model = 16, .d_state = 4, .d_conv = 4, .d_inner = 32, .dt_rank = 1};
  Parameters p{s}, d{s};
  std::mt19937 random(1);
  std::uniform_real_distribution<double> uniform(-1, 1);
  for (Matrix* w : {&p.in_proj, &p.conv1d_weight, &p.x_proj, &p.dt_proj_weight, &p.out_proj})
    for (double& v : w->data) v = uniform(random) / std::sqrt(w->columns);  // as published
  for (int e = 0; e < s.d_inner; ++e) {
    // Delta 0.1 to 1, since there are few tokens; published models start with 0.001 to 0.1.
    p.dt_proj_bias[e] = std::log(std::expm1(std::pow(10, (uniform(random) - 1) / 2)));
    p.D[e] = 1;
    for (int n = 0; n < s.d_state; ++n) p.A_log(e, n) = std::log(n + 1);  // A = -1, -2, ...
  }
  Matrix input(s.L, s.d_model), weights(s.L, s.d_model);
  for (Matrix* m : {&input, &weights})
    for (double& v : m->data) v = 3 * uniform(random);
  auto loss = [&](Kept& kept) {  // any number that depends on all of the result
    const Vector out = forward(p, input, kept).data;
    return std::inner_product(out.begin(), out.end(), weights.data.begin(), 0.0);
  };
  Kept k;
  std::printf("loss %.9f\n\nOne channel, token by token:\n", loss(k));
  std::printf("t      u    Delta  exp(Delta A), first 2 states    h, first 2 states         y\n");
  for (int t = 0; t < s.L; ++t)
    std::printf("%d %8.4f %7.4f %10.4f %10.4f %14.4f %9.4f %10.4f\n", t, k.u(t, 0), k.Delta(t, 0),
                std::exp(-k.Delta(t, 0)), std::exp(-2 * k.Delta(t, 0)), k.h[t + 1](0, 0),
                k.h[t + 1](0, 1), k.y(t, 0));
  backward(p, k, weights, d);
  std::printf("\ngradient            backward()     (loss(v + h) - loss(v - h)) / 2h\n");
  auto check = [&](const char* name, double& v, double gradient) {
    const double was = v, h = 1e-5;
    v = was + h;
    const double up = loss(k);
    v = was - h;
    std::printf("%-14s %16.11f %16.11f\n", name, gradient, (up - loss(k)) / (2 * h));
    v = was;
  };
  check("in_proj", p.in_proj(0, 0), d.in_proj(0, 0));
  check("conv1d.weight", p.conv1d_weight(0, 0), d.conv1d_weight(0, 0));
  check("dt_proj.bias", p.dt_proj_bias[0], d.dt_proj_bias[0]);
  check("A_log", p.A_log(0, 0), d.A_log(0, 0));
}
#endif
