// GPU rows for any D. A warp owns a row of D channels at a time.
#include "kernels/common/device/reduce.cuh"
#include "kernels/norm/parts.cuh"

namespace krait {
namespace {

constexpr int threads = 256;
constexpr int warps = threads / 32;
constexpr int64_t most_blocks = 4096;

__device__ int64_t first_row() {
  return int64_t{blockIdx.x} * warps + threadIdx.x / 32;
}
__device__ int64_t row_step() {
  return int64_t{gridDim.x} * warps;
}

// Element d of a row of `sum` turned by its angle (direction 1) or back (-1); t: row of the tables,
// negative: not rotated.
template <class F>
__device__ float rotated(const Rotation& r, int64_t t, int64_t D, int64_t d, float direction,
                         F&& sum) {
  if (t < 0) return sum(d);
  const int64_t at = t * D + d / 2 * 2;
  const float c = static_cast<const float*>(r.cos)[at];
  const float s = static_cast<const float*>(r.sin)[at] * direction;
  return d % 2 == 0 ? sum(d) * c - sum(d + 1) * s : sum(d) * c + sum(d - 1) * s;
}

// The row is read again for each sum. A lane only reads back what it wrote itself.
template <class T, class X>
__global__ void fwd_row_per_warp(AddNormFwd p) {
  const int lane = threadIdx.x % 32;
  const auto* w = static_cast<const float*>(p.w);
  const auto* b = static_cast<const float*>(p.b);
  for (int64_t r = first_row(); r < p.rows; r += row_step()) {
    const int64_t at = r * p.D;
    const auto* residual = static_cast<const float*>(p.residual);
    auto* out = static_cast<float*>(p.residual_out);
    float sum = 0, square = 0;
    auto before = [&](int64_t d) {
      return (p.x ? float(static_cast<const X*>(p.x)[at + d]) : 0) +
             (residual ? residual[at + d] : 0);
    };
    const int64_t t = table_row(p.rotation, r);
    if (out)
      for (int64_t d = lane; d < p.D; d += 32)
        out[at + d] = rotated(p.rotation, t, p.D, d, 1, before);
    const float* v = out ? out : residual;
    if (p.kind == NormKind::layer)
      for (int64_t d = lane; d < p.D; d += 32) sum += v[at + d];
    const float mean = p.kind == NormKind::layer ? warp_sum(sum) / float(p.D) : 0.0f;
    for (int64_t d = lane; d < p.D; d += 32) square += (v[at + d] - mean) * (v[at + d] - mean);
    const float rstd = 1 / sqrtf(warp_sum(square) / float(p.D) + float(p.eps));
    for (int64_t d = lane; d < p.D; d += 32) {
      const float y = (v[at + d] - mean) * rstd * w[d];
      static_cast<T*>(p.y)[at + d] = T(b ? y + b[d] : y);
    }
    if (lane == 0) {
      if (p.mean) static_cast<float*>(p.mean)[r] = mean;
      if (p.rstd) static_cast<float*>(p.rstd)[r] = rstd;
    }
  }
}

// dx and dresidual; the row is read twice.
template <class T, class X>
__global__ void bwd_row_per_warp(AddNormBwd p) {
  const int lane = threadIdx.x % 32;
  const bool layer = p.kind == NormKind::layer;
  const auto* w = static_cast<const float*>(p.w);
  const auto* v = static_cast<const float*>(p.v);
  for (int64_t r = first_row(); r < p.rows; r += row_step()) {
    const int64_t at = r * p.D;
    const float mean = layer ? static_cast<const float*>(p.mean)[r] : 0.0f;
    const float rstd = static_cast<const float*>(p.rstd)[r];
    auto g = [&](int64_t d) {
      return p.dy ? float(static_cast<const T*>(p.dy)[at + d]) * w[d] : 0.0f;
    };
    float sum_g = 0, sum_gn = 0;
    for (int64_t d = lane; d < p.D; d += 32) {
      sum_g += g(d);
      sum_gn += g(d) * ((v[at + d] - mean) * rstd);
    }
    const float mean_g = layer ? warp_sum(sum_g) / float(p.D) : 0.0f;
    const float mean_gn = warp_sum(sum_gn) / float(p.D);
    auto gradient = [&](int64_t d) {
      const float dv = rstd * (g(d) - mean_g - (v[at + d] - mean) * rstd * mean_gn);
      return p.dresidual_out ? dv + static_cast<const float*>(p.dresidual_out)[at + d] : dv;
    };
    const int64_t t = table_row(p.rotation, r);
    for (int64_t d = lane; d < p.D; d += 32) {
      const float dv = rotated(p.rotation, t, p.D, d, -1, gradient);
      if (p.dx) {
        X& dx = static_cast<X*>(p.dx)[at + d];
        dx = X(p.accumulate_dx ? float(dx) + dv : dv);
      }
      if (p.dresidual) {
        float& dresidual = static_cast<float*>(p.dresidual)[at + d];
        dresidual = p.accumulate_dresidual ? dresidual + dv : dv;
      }
    }
  }
}

// dw and db. Block (c, s) owns 32 columns of slice s of the rows, a warp every eighth row.
template <class T>
__global__ void bwd_columns(AddNormBwd p, int64_t per, float* part) {
  __shared__ float dw_of_warp[warps][32], db_of_warp[warps][32];
  const int64_t d = int64_t{blockIdx.x} * 32 + threadIdx.x, from = per * blockIdx.y;
  const int64_t to = from + per < p.rows ? from + per : p.rows;
  float dw = 0, db = 0;
  if (d < p.D)
    for (int64_t r = from + threadIdx.y; r < to; r += warps) {
      const float mean = p.kind == NormKind::layer ? static_cast<const float*>(p.mean)[r] : 0.0f;
      const float v = static_cast<const float*>(p.v)[r * p.D + d];
      const float dy = float(static_cast<const T*>(p.dy)[r * p.D + d]);
      dw += dy * ((v - mean) * static_cast<const float*>(p.rstd)[r]);
      db += dy;
    }
  dw_of_warp[threadIdx.y][threadIdx.x] = dw;
  db_of_warp[threadIdx.y][threadIdx.x] = db;
  __syncthreads();
  if (threadIdx.y > 0 || d >= p.D) return;
  for (int k = 1; k < warps; ++k) {
    dw += dw_of_warp[k][threadIdx.x];
    db += db_of_warp[k][threadIdx.x];
  }
  part[int64_t{blockIdx.y} * 2 * p.D + d] = dw;
  part[(int64_t{blockIdx.y} * 2 + 1) * p.D + d] = db;
}

int64_t column_slices(const AddNormBwd& p) {
  return blocks_for(p.rows, 128, 256);
}

}  // namespace

void add_norm_fwd_row_per_warp(const AddNormFwd& p, const Launch& l) {
  const unsigned blocks = blocks_for(p.rows, warps, most_blocks);
  with_norm_types(p.dtype, p.x_dtype, [&]<class T, class X>() {
    fwd_row_per_warp<T, X><<<blocks, threads, 0, l.stream>>>(p);
  });
}

size_t add_norm_bwd_row_per_warp_scratch(const AddNormBwd& p) {
  return sums_rows(p) ? column_slices(p) * 2 * p.D * sizeof(float) : 0;
}
void add_norm_bwd_row_per_warp(const AddNormBwd& p, const Launch& l) {
  if (p.dx || p.dresidual)
    with_norm_types(p.dtype, p.x_dtype, [&]<class T, class X>() {
      bwd_row_per_warp<T, X><<<blocks_for(p.rows, warps, most_blocks), threads, 0, l.stream>>>(p);
    });
  if (!sums_rows(p)) return;
  auto part = static_cast<float*>(l.scratch);  // (slices, 2, D)
  const int64_t slices = column_slices(p), per = (p.rows + slices - 1) / slices;
  dispatch_gpu(p.dtype, [&]<class T>() {
    bwd_columns<T><<<dim3(blocks_for(p.D, 32), static_cast<unsigned>(slices)), dim3(32, warps), 0,
                     l.stream>>>(p, per, part);
  });
  add_parts(p, part, slices, l.stream);
}

}  // namespace krait
