// Plain loops; the formulas are those of the .md beside each kernel.
#include "tools/walkthrough/loops.h"

#include <algorithm>
#include <cmath>

namespace krait::walk {

Matrix Matrix::part(int64_t from, int64_t to) const {
  Matrix m(rows, to - from);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = from; c < to; ++c) m(r, c - from) = (*this)(r, c);
  return m;
}
Matrix sum(const Matrix& a, const Matrix& b) {
  if (!a || !b) return a ? a : b;
  Matrix m = a;
  for (size_t i = 0; i < m.data.size(); ++i) m.data[i] += b.data[i];
  return m;
}
Matrix side_by_side(const std::vector<Matrix>& parts) {
  Matrix m(parts[0].rows, 0);
  for (const Matrix& p : parts) m.columns += p.columns;
  for (int64_t r = 0; r < m.rows; ++r)
    for (const Matrix& p : parts)
      m.data.insert(m.data.end(), p.data.begin() + r * p.columns,
                    p.data.begin() + (r + 1) * p.columns);
  return m;
}

double difference(const Matrix& got, const Matrix& right) {
  if (got.data.size() != right.data.size()) return INFINITY;
  double worst = 0, largest = 0;
  for (size_t i = 0; i < got.data.size(); ++i) {
    const double d = std::abs(got.data[i] - right.data[i]);
    if (!std::isfinite(d)) return INFINITY;
    worst = std::max(worst, d);
    largest = std::max(largest, std::abs(right.data[i]));
  }
  return largest > 0 ? worst / largest : worst;
}

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}
double silu(double x) {
  return x * sigmoid(x);
}
double silu_slope(double x) {
  const double s = sigmoid(x);
  return s * (1 + x * (1 - s));
}

Matrix linear(const Matrix& x, const Matrix& w, const Vector& b) {
  Matrix y(x.rows, w.rows);
  for (int64_t r = 0; r < x.rows; ++r)
    for (int64_t n = 0; n < w.rows; ++n) {
      double s = b.empty() ? 0 : b[n];
      for (int64_t k = 0; k < w.columns; ++k) s += x(r, k) * w(n, k);
      y(r, n) = s;
    }
  return y;
}
LinearGradients linear_back(const Matrix& dy, const Matrix& x, const Matrix& w) {
  LinearGradients d{Matrix(x.rows, x.columns), Matrix(w.rows, w.columns), Vector(w.rows)};
  for (int64_t r = 0; r < x.rows; ++r)
    for (int64_t n = 0; n < w.rows; ++n) {
      d.b[n] += dy(r, n);
      for (int64_t k = 0; k < w.columns; ++k) {
        d.x(r, k) += dy(r, n) * w(n, k);
        d.w(n, k) += dy(r, n) * x(r, k);
      }
    }
  return d;
}

Matrix Patches::cut(const Vector& picture) const {
  const int G = grid();
  Matrix m(int64_t{G} * G, int64_t{channels} * p * p);
  for (int64_t t = 0; t < m.rows; ++t)
    for (int64_t i = 0; i < m.columns; ++i) {
      const int64_t c = i / (p * p), y = i / p % p, x = i % p;
      m(t, i) = picture[(c * S + t / G * stride + y) * S + t % G * stride + x];
    }
  return m;
}
Vector Patches::put_back(const Matrix& gradients) const {
  const int G = grid();
  Vector picture(int64_t{channels} * S * S);
  for (int64_t t = 0; t < gradients.rows; ++t)
    for (int64_t i = 0; i < gradients.columns; ++i) {
      const int64_t c = i / (p * p), y = i / p % p, x = i % p;
      picture[(c * S + t / G * stride + y) * S + t % G * stride + x] += gradients(t, i);
    }
  return picture;
}

double rope_angle(int64_t d, int64_t D, int row, int column, int grid, int pretrained_grid) {
  const int64_t half = D / 2, pair = d % half / 2;
  const double position = d < half ? row : column;
  return position / grid * pretrained_grid *
         std::pow(10000.0, -2.0 * static_cast<double>(pair) / static_cast<double>(half));
}
Matrix rotate(const Matrix& x, int grid, int pretrained_grid, int direction) {
  const int64_t P = int64_t{grid} * grid, still = x.rows - P;
  Matrix y = x;
  for (int64_t t = still; t < x.rows; ++t)
    for (int64_t d = 0; d + 1 < x.columns; d += 2) {
      const int row = static_cast<int>(t - still) / grid,
                column = static_cast<int>(t - still) % grid;
      const double angle = direction * rope_angle(d, x.columns, row, column, grid, pretrained_grid);
      y(t, d) = x(t, d) * std::cos(angle) - x(t, d + 1) * std::sin(angle);
      y(t, d + 1) = x(t, d + 1) * std::cos(angle) + x(t, d) * std::sin(angle);
    }
  return y;
}

namespace {

struct Statistics {
  double mean = 0, rstd = 0;
};
Statistics of_row(const Matrix& x, int64_t r, double eps, bool layer) {
  const double D = static_cast<double>(x.columns);
  Statistics s;
  for (int64_t d = 0; layer && d < x.columns; ++d) s.mean += x(r, d) / D;
  double square = 0;
  for (int64_t d = 0; d < x.columns; ++d) square += (x(r, d) - s.mean) * (x(r, d) - s.mean) / D;
  s.rstd = 1 / std::sqrt(square + eps);
  return s;
}

}  // namespace

Matrix norm(const Matrix& x, const Vector& w, const Vector& b, double eps, bool layer) {
  Matrix y(x.rows, x.columns);
  for (int64_t r = 0; r < x.rows; ++r) {
    const Statistics s = of_row(x, r, eps, layer);
    for (int64_t d = 0; d < x.columns; ++d)
      y(r, d) = (x(r, d) - s.mean) * s.rstd * w[d] + (b.empty() ? 0 : b[d]);
  }
  return y;
}
NormGradients norm_back(const Matrix& dy, const Matrix& x, const Vector& w, double eps,
                        bool layer) {
  NormGradients g{Matrix(x.rows, x.columns), Vector(x.columns), Vector(x.columns)};
  const double D = static_cast<double>(x.columns);
  for (int64_t r = 0; r < x.rows; ++r) {
    const Statistics s = of_row(x, r, eps, layer);
    double sum_g = 0, sum_gn = 0;  // of the gradient of the normed row n = (x - mean) rstd
    for (int64_t d = 0; d < x.columns; ++d) {
      const double n = (x(r, d) - s.mean) * s.rstd;
      if (layer) sum_g += dy(r, d) * w[d];
      sum_gn += dy(r, d) * w[d] * n;
      g.w[d] += dy(r, d) * n;
      g.b[d] += dy(r, d);
    }
    for (int64_t d = 0; d < x.columns; ++d)
      g.x(r, d) = s.rstd * (dy(r, d) * w[d] - sum_g / D - (x(r, d) - s.mean) * s.rstd * sum_gn / D);
  }
  return g;
}

Matrix conv1d(const Matrix& x, const Matrix& w, const Vector& b, bool reverse) {
  Matrix y(x.rows, x.columns);
  const int64_t L = x.rows, K = w.columns;
  for (int64_t t = 0; t < L; ++t)
    for (int64_t e = 0; e < x.columns; ++e) {
      double s = b.empty() ? 0 : b[e];
      for (int64_t k = 0; k < K; ++k) {
        const int64_t from = reverse ? t + (K - 1 - k) : t - (K - 1 - k);
        if (0 <= from && from < L) s += w(e, k) * x(from, e);
      }
      y(t, e) = s;
    }
  return y;
}
ConvGradients conv1d_back(const Matrix& dy, const Matrix& x, const Matrix& w, bool reverse) {
  ConvGradients d{Matrix(x.rows, x.columns), Matrix(w.rows, w.columns), Vector(w.rows)};
  const int64_t L = x.rows, K = w.columns;
  for (int64_t t = 0; t < L; ++t)
    for (int64_t e = 0; e < x.columns; ++e) {
      d.b[e] += dy(t, e);
      for (int64_t k = 0; k < K; ++k) {
        const int64_t from = reverse ? t + (K - 1 - k) : t - (K - 1 - k);
        if (from < 0 || from >= L) continue;
        d.x(from, e) += w(e, k) * dy(t, e);
        d.w(e, k) += x(from, e) * dy(t, e);
      }
    }
  return d;
}

Matrix step_size(const Side& s) {
  Matrix Delta(s.u.rows, s.u.columns);
  for (int64_t t = 0; t < Delta.rows; ++t)
    for (int64_t e = 0; e < Delta.columns; ++e) {
      const double x = s.delta(t, e) + s.bias[e];
      Delta(t, e) = x > 20 ? x : std::log1p(std::exp(x));
    }
  return Delta;
}
Matrix decay(const Side& s, const Matrix& Delta) {
  const int64_t N = s.A_log.columns;
  Matrix a(Delta.rows, Delta.columns * N);
  for (int64_t t = 0; t < Delta.rows; ++t)
    for (int64_t e = 0; e < Delta.columns; ++e)
      for (int64_t n = 0; n < N; ++n)
        a(t, e * N + n) = std::exp(-Delta(t, e) * std::exp(s.A_log(e, n)));
  return a;
}
Matrix states(const Side& s, const Matrix& Delta) {
  const int64_t L = s.u.rows, E = s.u.columns, N = s.A_log.columns;
  const Matrix a = decay(s, Delta);
  Matrix h(L, E * N);
  for (int64_t e = 0; e < E; ++e)
    for (int64_t n = 0; n < N; ++n) {
      double state = 0;
      for (int64_t step = 0; step < L; ++step) {
        const int64_t t = s.token(step);
        state = a(t, e * N + n) * state + Delta(t, e) * s.B(t, n) * s.u(t, e);
        h(t, e * N + n) = state;
      }
    }
  return h;
}
Matrix listen(const Side& s, const Matrix& h) {
  const int64_t N = s.A_log.columns;
  Matrix y(s.u.rows, s.u.columns);
  for (int64_t t = 0; t < y.rows; ++t)
    for (int64_t e = 0; e < y.columns; ++e) {
      y(t, e) = s.D[e] * s.u(t, e);
      for (int64_t n = 0; n < N; ++n) y(t, e) += s.C(t, n) * h(t, e * N + n);
    }
  return y;
}
SideGradients scan_back(const Side& s, const Matrix& dy) {
  const int64_t L = s.u.rows, E = s.u.columns, N = s.A_log.columns;
  SideGradients d{Matrix(L, E), Matrix(L, E), Matrix(E, N), Matrix(L, N),
                  Matrix(L, N), Vector(E),    Vector(E)};
  const Matrix Delta = step_size(s), a = decay(s, Delta), h = states(s, Delta);
  for (int64_t e = 0; e < E; ++e) {
    Vector lambda(N);  // the gradient of the state, which runs against the scan
    for (int64_t step = L - 1; step >= 0; --step) {
      const int64_t t = s.token(step);
      double dDelta = 0;
      d.u(t, e) += s.D[e] * dy(t, e);
      d.D[e] += dy(t, e) * s.u(t, e);
      for (int64_t n = 0; n < N; ++n) {
        const double before = step ? h(s.token(step - 1), e * N + n) : 0;
        const double A = -std::exp(s.A_log(e, n)), decayed = a(t, e * N + n) * before;
        lambda[n] += s.C(t, n) * dy(t, e);
        d.C(t, n) += dy(t, e) * h(t, e * N + n);
        d.B(t, n) += lambda[n] * Delta(t, e) * s.u(t, e);
        d.u(t, e) += lambda[n] * Delta(t, e) * s.B(t, n);
        dDelta += lambda[n] * (s.B(t, n) * s.u(t, e) + A * decayed);
        d.A_log(e, n) += lambda[n] * Delta(t, e) * decayed * A;
        lambda[n] *= a(t, e * N + n);
      }
      const double x = s.delta(t, e) + s.bias[e];
      d.delta(t, e) = dDelta * (x > 20 ? 1 : sigmoid(x));
      d.bias[e] += d.delta(t, e);
    }
  }
  return d;
}
Matrix implied_attention(const Side& s, const Matrix& Delta, int64_t e) {
  const int64_t L = s.u.rows, N = s.A_log.columns;
  Matrix M(L, L);
  for (int64_t n = 0; n < N; ++n) {
    const double A = -std::exp(s.A_log(e, n));
    Vector a(L);
    for (int64_t t = 0; t < L; ++t) a[t] = std::exp(Delta(t, e) * A);
    for (int64_t from = 0; from < L; ++from) {
      double left = Delta(s.token(from), e) * s.B(s.token(from), n);
      for (int64_t to = from; to < L; ++to) {
        if (to > from) left *= a[s.token(to)];
        M(s.token(to), s.token(from)) += s.C(s.token(to), n) * left;
      }
    }
  }
  return M;
}

Vector softmax(const Vector& x) {
  const double most = *std::max_element(x.begin(), x.end());
  Vector p;
  double all = 0;
  for (const double v : x) all += p.emplace_back(std::exp(v - most));
  for (double& v : p) v /= all;
  return p;
}

}  // namespace krait::walk
