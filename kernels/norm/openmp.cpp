// CPU rows for f32: rows are divided among threads, and the loops over channels are vectorised. The
// sums over rows are made in a fixed number of slices of the rows and the slices added in order, so
// the result does not depend on the number of threads.
#include <cmath>

#include "kernels/norm/rows.h"

namespace krait {
namespace {
constexpr int64_t slices = 32;
constexpr int64_t alone = 1 << 14;  // so few elements are not worth a second thread

// Turns the pairs of row r, which lies at v, by their angles (direction 1) or back (-1).
void rotate(const Rotation& rotation, int64_t r, int64_t D, float direction, float* v) {
  const int64_t t = table_row(rotation, r);
  if (t < 0) return;
  const float* cos = static_cast<const float*>(rotation.cos) + t * D;
  const float* sin = static_cast<const float*>(rotation.sin) + t * D;
#pragma omp simd
  for (int64_t d = 0; d < D; d += 2) {
    const float c = cos[d], s = sin[d] * direction, v0 = v[d], v1 = v[d + 1];
    v[d] = v0 * c - v1 * s;
    v[d + 1] = v1 * c + v0 * s;
  }
}
}  // namespace

bool add_norm_fwd_openmp_supports(const AddNormFwd& p, const Device&) {
  return p.dtype == DType::f32 && (!p.x || p.x_dtype == DType::f32);
}
void add_norm_fwd_openmp(const AddNormFwd& p, const Launch&) {
  const float* w = static_cast<const float*>(p.w);
  const float* b = static_cast<const float*>(p.b);
  const int64_t D = p.D;
  const auto n = static_cast<float>(D);
#pragma omp parallel for schedule(static) if (p.rows * D > alone)
  for (int64_t r = 0; r < p.rows; ++r) {
    const float* x = p.x ? static_cast<const float*>(p.x) + r * D : nullptr;
    const float* residual = p.residual ? static_cast<const float*>(p.residual) + r * D : nullptr;
    float* out = p.residual_out ? static_cast<float*>(p.residual_out) + r * D : nullptr;
    float* y = static_cast<float*>(p.y) + r * D;
    if (x && residual)
      for (int64_t d = 0; d < D; ++d) out[d] = x[d] + residual[d];
    else if (out)
      for (int64_t d = 0; d < D; ++d) out[d] = x ? x[d] : residual[d];
    rotate(p.rotation, r, D, 1, out);
    const float* v = out ? out : residual;
    float mean = 0, square = 0;
    if (p.kind == NormKind::layer) {
#pragma omp simd reduction(+ : mean)
      for (int64_t d = 0; d < D; ++d) mean += v[d];
      mean /= n;
    }
#pragma omp simd reduction(+ : square)
    for (int64_t d = 0; d < D; ++d) square += (v[d] - mean) * (v[d] - mean);
    const float rstd = 1 / std::sqrt(square / n + static_cast<float>(p.eps));
    if (b)
      for (int64_t d = 0; d < D; ++d) y[d] = (v[d] - mean) * rstd * w[d] + b[d];
    else
      for (int64_t d = 0; d < D; ++d) y[d] = (v[d] - mean) * rstd * w[d];
    if (p.mean) static_cast<float*>(p.mean)[r] = mean;
    if (p.rstd) static_cast<float*>(p.rstd)[r] = rstd;
  }
}

bool add_norm_bwd_openmp_supports(const AddNormBwd& p, const Device&) {
  return p.dtype == DType::f32 && (!p.dx || p.x_dtype == DType::f32);
}
// Per slice: a row of dw, a row of db and a row to put dv in.
size_t add_norm_bwd_openmp_scratch(const AddNormBwd& p) {
  return slices * 3 * p.D * sizeof(float);
}
void add_norm_bwd_openmp(const AddNormBwd& p, const Launch& l) {
  const float* w = static_cast<const float*>(p.w);
  const int64_t D = p.D, per = (p.rows + slices - 1) / slices;
  const auto n = static_cast<float>(D);
  float* scratch = static_cast<float*>(l.scratch);  // (slices, 3, D)
#pragma omp parallel for schedule(static) if (p.rows * D > alone)
  for (int64_t s = 0; s < slices; ++s) {
    float* dw = scratch + s * 3 * D;
    float* db = dw + D;
    float* dv = db + D;
    for (int64_t d = 0; d < 2 * D; ++d) dw[d] = 0;
    for (int64_t r = s * per; r < (s + 1) * per && r < p.rows; ++r) {
      const float* v = static_cast<const float*>(p.v) + r * D;
      const float* dy = p.dy ? static_cast<const float*>(p.dy) + r * D : nullptr;
      const float* up =
          p.dresidual_out ? static_cast<const float*>(p.dresidual_out) + r * D : nullptr;
      const bool layer = p.kind == NormKind::layer;
      const float mean = layer ? static_cast<const float*>(p.mean)[r] : 0.0f;
      const float rstd = static_cast<const float*>(p.rstd)[r];
      if (dy) {
        float sum_g = 0, sum_gn = 0;
#pragma omp simd reduction(+ : sum_g, sum_gn)
        for (int64_t d = 0; d < D; ++d) {
          const float g = dy[d] * w[d];
          sum_g += g;
          sum_gn += g * ((v[d] - mean) * rstd);
        }
        const float mean_g = layer ? sum_g / n : 0.0f, mean_gn = sum_gn / n;
        for (int64_t d = 0; d < D; ++d) {
          const float norm = (v[d] - mean) * rstd;
          dv[d] = rstd * (dy[d] * w[d] - mean_g - norm * mean_gn);
          dw[d] += dy[d] * norm;
          db[d] += dy[d];
        }
        if (up)
          for (int64_t d = 0; d < D; ++d) dv[d] += up[d];
      } else {
        for (int64_t d = 0; d < D; ++d) dv[d] = up ? up[d] : 0.0f;
      }
      rotate(p.rotation, r, D, -1, dv);
      auto give = [&](void* to, bool accumulate) {
        if (!to) return;
        float* row = static_cast<float*>(to) + r * D;
        if (accumulate)
          for (int64_t d = 0; d < D; ++d) row[d] += dv[d];
        else
          for (int64_t d = 0; d < D; ++d) row[d] = dv[d];
      };
      give(p.dx, p.accumulate_dx);
      give(p.dresidual, p.accumulate_dresidual);
    }
  }
  for (int64_t s = 0; s < slices; ++s)
    for (int64_t d = 0; d < D; ++d) {
      if (p.dw) static_cast<float*>(p.dw)[d] += scratch[s * 3 * D + d];
      if (p.db) static_cast<float*>(p.db)[d] += scratch[(s * 3 + 1) * D + d];
    }
}

}  // namespace krait
