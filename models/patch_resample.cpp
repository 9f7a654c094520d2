// The pseudo-inverse resize of patch embeddings.
#include "models/patch_resample.h"

#include <algorithm>
#include <cmath>

#include "engine/tensor.h"

namespace krait {
namespace {

struct Matrix {
  int rows, columns;
  std::vector<double> v;
  Matrix(int r, int c) : rows(r), columns(c), v(static_cast<size_t>(r) * c) {}
  double& at(int i, int j) { return v[static_cast<size_t>(i) * columns + j]; }
  double at(int i, int j) const { return v[static_cast<size_t>(i) * columns + j]; }
};

// (to, from): what scales a row of pixels.
Matrix scaling(int from, int to) {
  Matrix r(to, from);
  const double step = static_cast<double>(from) / to, reach = std::max(1.0, step);
  for (int i = 0; i < to; ++i) {
    double sum = 0;
    for (int j = 0; j < from; ++j) {
      const double distance = std::abs(j + 0.5 - (i + 0.5) * step) / reach;
      sum += r.at(i, j) = std::max(0.0, 1 - distance);
    }
    for (int j = 0; j < from; ++j) r.at(i, j) /= sum;
  }
  return r;
}

Matrix product(const Matrix& a, const Matrix& b) {
  Matrix c(a.rows, b.columns);
  for (int i = 0; i < a.rows; ++i)
    for (int k = 0; k < a.columns; ++k)
      for (int j = 0; j < b.columns; ++j) c.at(i, j) += a.at(i, k) * b.at(k, j);
  return c;
}

Matrix transposed(const Matrix& a) {
  Matrix t(a.columns, a.rows);
  for (int i = 0; i < a.rows; ++i)
    for (int j = 0; j < a.columns; ++j) t.at(j, i) = a.at(i, j);
  return t;
}

// x with a x = b, for a symmetric and positive: elimination without pivots.
Matrix solve(Matrix a, Matrix b) {
  for (int k = 0; k < a.rows; ++k) {
    KRAIT_CHECK(a.at(k, k) > 1e-12, "patches cannot be resampled to this size");
    for (int i = 0; i < a.rows; ++i) {
      if (i == k) continue;
      const double f = a.at(i, k) / a.at(k, k);
      for (int j = k; j < a.columns; ++j) a.at(i, j) -= f * a.at(k, j);
      for (int j = 0; j < b.columns; ++j) b.at(i, j) -= f * b.at(k, j);
    }
  }
  for (int i = 0; i < b.rows; ++i)
    for (int j = 0; j < b.columns; ++j) b.at(i, j) /= a.at(i, i);
  return b;
}

// (to, from): the pseudo-inverse of R^T.
Matrix inverse_scaling(int from, int to) {
  const Matrix r = scaling(from, to), t = transposed(r);
  // R has full rank: R (R^T R)^-1 where it enlarges, (R R^T)^-1 R where it shrinks.
  return to >= from ? transposed(solve(product(t, r), t)) : solve(product(r, t), r);
}

}  // namespace

std::vector<double> resample_patches(const std::vector<double>& weights, int from, int to,
                                     int64_t filters) {
  const Matrix q = inverse_scaling(from, to), qt = transposed(q);
  std::vector<double> out;
  for (int64_t f = 0; f < filters; ++f) {
    Matrix w(from, from);
    std::copy_n(weights.begin() + f * from * from, from * from, w.v.begin());
    const Matrix scaled = product(product(q, w), qt);
    out.insert(out.end(), scaled.v.begin(), scaled.v.end());
  }
  return out;
}

}  // namespace krait
