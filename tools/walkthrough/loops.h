// The walk-through's own arithmetic: every stage of the model and its gradient in plain loops over
// doubles, for one picture. It knows nothing of the engine, so what agrees with it was computed
// twice. Letters: L tokens, D width, E inner width, N states, R rank of dt, K taps.
#pragma once

#include <cstdint>
#include <vector>

namespace krait::walk {

using Vector = std::vector<double>;
struct Matrix {
  int64_t rows = 0, columns = 0;
  Vector data;
  Matrix() = default;
  Matrix(int64_t rows, int64_t columns, double value = 0)
      : rows(rows), columns(columns), data(rows * columns, value) {}
  double& operator()(int64_t r, int64_t c) { return data[r * columns + c]; }
  double operator()(int64_t r, int64_t c) const { return data[r * columns + c]; }
  explicit operator bool() const { return !data.empty(); }
  Matrix part(int64_t from, int64_t to) const;  // columns [from, to)
};
Matrix sum(const Matrix& a, const Matrix& b);  // an empty one counts as zero
Matrix side_by_side(const std::vector<Matrix>& parts);

// Largest difference, as a share of the largest value of `right`. Infinite where a number is not
// finite or the sizes differ.
double difference(const Matrix& got, const Matrix& right);

double sigmoid(double x);
double silu(double x);
double silu_slope(double x);  // its derivative

// y = x w^T + b: x (.., K), w (N, K), b (N) or empty.
Matrix linear(const Matrix& x, const Matrix& w, const Vector& b = {});
struct LinearGradients {
  Matrix x, w;
  Vector b;
};
LinearGradients linear_back(const Matrix& dy, const Matrix& x, const Matrix& w);

// Where a patch's numbers lie in a picture (channels, S, S): patches of p x p pixels, `stride`
// apart, row by row.
struct Patches {
  int channels, S, p, stride;
  int grid() const { return (S - p) / stride + 1; }
  Matrix cut(const Vector& picture) const;         // (P, channels p p)
  Vector put_back(const Matrix& gradients) const;  // sums, where patches overlap
};

// The angle of channel pair (d, d + 1) of the patch at (row, column); models/vim/README.md.
double rope_angle(int64_t d, int64_t D, int row, int column, int grid, int pretrained_grid);
// Turns the pairs of every token by its angles, `direction` 1 or -1. The tokens are the grid's, or
// one more: then the first stays as it is.
Matrix rotate(const Matrix& x, int grid, int pretrained_grid, int direction = 1);

// RMSNorm, or with `layer` LayerNorm; w (D), b (D) or empty.
Matrix norm(const Matrix& x, const Vector& w, const Vector& b, double eps, bool layer);
struct NormGradients {
  Matrix x;
  Vector w, b;
};
NormGradients norm_back(const Matrix& dy, const Matrix& x, const Vector& w, double eps, bool layer);

// y_t = b + sum_k w_k x_(t - K + 1 + k) for each channel; reversed: x_(t + K - 1 - k). w (E, K)
Matrix conv1d(const Matrix& x, const Matrix& w, const Vector& b, bool reverse);
struct ConvGradients {
  Matrix x, w;
  Vector b;
};
ConvGradients conv1d_back(const Matrix& dy, const Matrix& x, const Matrix& w, bool reverse);

// One side of the selective scan.
struct Side {
  Matrix u;      // (L, E)
  Matrix delta;  // (L, E): before bias and softplus
  Vector bias;   // (E)
  Matrix A_log;  // (E, N)
  Matrix B, C;   // (L, N)
  Vector D;      // (E)
  bool reverse = false;
  int64_t token(int64_t step) const { return reverse ? u.rows - 1 - step : step; }
};
Matrix step_size(const Side& s);                    // Delta (L, E)
Matrix decay(const Side& s, const Matrix& Delta);   // exp(Delta A): (L, E N)
Matrix states(const Side& s, const Matrix& Delta);  // h (L, E N)
Matrix listen(const Side& s, const Matrix& h);      // C h + D u: (L, E)
struct SideGradients {
  Matrix u, delta, A_log, B, C;
  Vector bias, D;
};
// From the gradient of listen()'s result.
SideGradients scan_back(const Side& s, const Matrix& dy);
// What y_t of a channel hears of token s: y_t = sum_s M(t, s) u_s, without D. (L, L)
Matrix implied_attention(const Side& s, const Matrix& Delta, int64_t channel);

Vector softmax(const Vector& x);

}  // namespace krait::walk
