// GPU rows. A warp owns a row of D channels at a time.
#include "kernels/common/device/add_slices.cuh"
#include "kernels/common/device/pair.cuh"
#include "kernels/common/device/reduce.cuh"
#include "kernels/norm/rows.h"

namespace krait {
namespace {

constexpr int threads = 256;
constexpr int warps = threads / 32;
constexpr int64_t most_blocks = 4096;
constexpr int64_t most_channels = 1024;  // that fit into a warp's registers

__device__ int64_t first_row() {
  return int64_t{blockIdx.x} * warps + threadIdx.x / 32;
}
__device__ int64_t row_step() {
  return int64_t{gridDim.x} * warps;
}

// The row is read once: lane i keeps the pairs (2i, 2i+1), (2i+64, 2i+65), .., `pairs` of them.
template <class T, class X, int pairs>
__global__ void fwd_registers(AddNormFwd p) {
  const int lane = threadIdx.x % 32, D = static_cast<int>(p.D);
  const auto* w = static_cast<const float*>(p.w);
  const auto* b = static_cast<const float*>(p.b);
  for (int64_t r = first_row(); r < p.rows; r += row_step()) {
    const int64_t at = r * D;
    float2 v[pairs];
    float sum = 0;
#pragma unroll
    for (int k = 0; k < pairs; ++k) {
      const int d = 2 * (lane + 32 * k);
      v[k] = {0, 0};
      if (d >= D) continue;
      if (p.residual) v[k] = load_pair(static_cast<const float*>(p.residual) + at + d);
      if (p.x) {
        const float2 x = load_pair(static_cast<const X*>(p.x) + at + d);
        v[k] = {v[k].x + x.x, v[k].y + x.y};
        store_pair(static_cast<float*>(p.residual_out) + at + d, v[k]);
      }
      sum += v[k].x + v[k].y;
    }
    const float mean = p.kind == NormKind::layer ? warp_sum(sum) / float(D) : 0.0f;
    float square = 0;
#pragma unroll
    for (int k = 0; k < pairs; ++k) {
      if (2 * (lane + 32 * k) >= D) continue;
      const float2 c = {v[k].x - mean, v[k].y - mean};
      square += c.x * c.x + c.y * c.y;
    }
    const float rstd = 1 / sqrtf(warp_sum(square) / float(D) + float(p.eps));
#pragma unroll
    for (int k = 0; k < pairs; ++k) {
      const int d = 2 * (lane + 32 * k);
      if (d >= D) continue;
      float2 y = {(v[k].x - mean) * rstd * w[d], (v[k].y - mean) * rstd * w[d + 1]};
      if (b) y = {y.x + b[d], y.y + b[d + 1]};
      store_pair(static_cast<T*>(p.y) + at + d, y);
    }
    if (lane == 0) {
      if (p.mean) static_cast<float*>(p.mean)[r] = mean;
      if (p.rstd) static_cast<float*>(p.rstd)[r] = rstd;
    }
  }
}

// Any D: the row is read again for each sum. A lane only reads back what it wrote itself.
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
    if (p.x)
      for (int64_t d = lane; d < p.D; d += 32)
        out[at + d] = float(static_cast<const X*>(p.x)[at + d]) + (residual ? residual[at + d] : 0);
    const float* v = p.x ? out : residual;
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

// As fwd_registers; a lane also keeps its channels' sums over the warp's rows of dy n and dy, which
// are added over the block's warps at the end: part (blocks, 2, D) gets dw's share and db's.
template <class T, class X, int pairs>
__global__ void bwd_registers(AddNormBwd p, float* part) {
  extern __shared__ float of_block[];  // (2, D)
  const int lane = threadIdx.x % 32, D = static_cast<int>(p.D);
  const bool layer = p.kind == NormKind::layer;
  const auto* w = static_cast<const float*>(p.w);
  float2 dw[pairs], db[pairs];
#pragma unroll
  for (int k = 0; k < pairs; ++k) dw[k] = db[k] = {0, 0};
  for (int64_t r = first_row(); r < p.rows; r += row_step()) {
    const int64_t at = r * D;
    const float mean = layer ? static_cast<const float*>(p.mean)[r] : 0.0f;
    const float rstd = static_cast<const float*>(p.rstd)[r];
    float2 n[pairs], g[pairs];
    float sum_g = 0, sum_gn = 0;
#pragma unroll
    for (int k = 0; k < pairs; ++k) {
      const int d = 2 * (lane + 32 * k);
      n[k] = g[k] = {0, 0};
      if (d >= D || !p.dy) continue;
      const float2 v = load_pair(static_cast<const float*>(p.v) + at + d);
      const float2 dy = load_pair(static_cast<const T*>(p.dy) + at + d);
      n[k] = {(v.x - mean) * rstd, (v.y - mean) * rstd};
      g[k] = {dy.x * w[d], dy.y * w[d + 1]};
      sum_g += g[k].x + g[k].y;
      sum_gn += g[k].x * n[k].x + g[k].y * n[k].y;
      dw[k] = {dw[k].x + dy.x * n[k].x, dw[k].y + dy.y * n[k].y};
      db[k] = {db[k].x + dy.x, db[k].y + dy.y};
    }
    const float mean_g = layer ? warp_sum(sum_g) / float(D) : 0.0f;
    const float mean_gn = warp_sum(sum_gn) / float(D);
#pragma unroll
    for (int k = 0; k < pairs; ++k) {
      const int d = 2 * (lane + 32 * k);
      if (d >= D) continue;
      float2 dv = {rstd * (g[k].x - mean_g - n[k].x * mean_gn),
                   rstd * (g[k].y - mean_g - n[k].y * mean_gn)};
      if (p.dresidual_out) {
        const float2 up = load_pair(static_cast<const float*>(p.dresidual_out) + at + d);
        dv = {dv.x + up.x, dv.y + up.y};
      }
      if (p.dx) {
        X* to = static_cast<X*>(p.dx) + at + d;
        const float2 old = p.accumulate_dx ? load_pair(to) : float2{0, 0};
        store_pair(to, {old.x + dv.x, old.y + dv.y});
      }
      if (p.dresidual) {
        float* to = static_cast<float*>(p.dresidual) + at + d;
        const float2 old = p.accumulate_dresidual ? load_pair(to) : float2{0, 0};
        store_pair(to, {old.x + dv.x, old.y + dv.y});
      }
    }
  }
  if (!part) return;
  for (int turn = 0; turn < warps; ++turn) {  // the warps in order
    if (static_cast<int>(threadIdx.x) / 32 == turn)
#pragma unroll
      for (int k = 0; k < pairs; ++k) {
        const int d = 2 * (lane + 32 * k);
        if (d >= D) continue;
        float* to = of_block + d;
        const bool first = turn == 0;
        to[0] = (first ? 0 : to[0]) + dw[k].x;
        to[1] = (first ? 0 : to[1]) + dw[k].y;
        to[D] = (first ? 0 : to[D]) + db[k].x;
        to[D + 1] = (first ? 0 : to[D + 1]) + db[k].y;
      }
    __syncthreads();
  }
  for (int i = threadIdx.x; i < 2 * D; i += threads)
    part[int64_t{blockIdx.x} * 2 * D + i] = of_block[i];
}

// Any D: dx and dresidual; the row is read twice.
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
    for (int64_t d = lane; d < p.D; d += 32) {
      float dv = rstd * (g(d) - mean_g - (v[at + d] - mean) * rstd * mean_gn);
      if (p.dresidual_out) dv += static_cast<const float*>(p.dresidual_out)[at + d];
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

// Any D: dw and db. Block (c, s) owns 32 columns of slice s of the rows, a warp every eighth row.
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

// part (slices, 2, D) -> dw, db
void add_parts(const AddNormBwd& p, const float* part, int64_t slices, Stream stream) {
  if (p.dw) add_slices(part, 2 * p.D, slices, p.D, static_cast<float*>(p.dw), stream);
  if (p.db) add_slices(part + p.D, 2 * p.D, slices, p.D, static_cast<float*>(p.db), stream);
}

bool sums_rows(const AddNormBwd& p) {
  return p.dy && (p.dw || p.db);
}
bool fits_registers(int64_t D) {
  return D % 2 == 0 && D <= most_channels;
}

// The smallest number of pairs a lane has to keep.
template <class F>
void with_pairs(int64_t D, F&& f) {
  if (D <= 192)
    f.template operator()<3>();
  else if (D <= 384)
    f.template operator()<6>();
  else
    f.template operator()<most_channels / 64>();
}

// Enough blocks to fill the device; the same number everywhere, since it decides the order of sums.
int64_t bwd_blocks(const AddNormBwd& p) {
  return blocks_for(p.rows, 4 * warps, 512);
}
int64_t column_slices(const AddNormBwd& p) {
  return blocks_for(p.rows, 128, 256);
}

}  // namespace

bool add_norm_fwd_registers_supports(const AddNormFwd& p, const Device&) {
  return fits_registers(p.D) && aligned_for_pairs(p.x, p.residual, p.residual_out, p.y);
}
void add_norm_fwd_registers(const AddNormFwd& p, const Launch& l) {
  const unsigned blocks = blocks_for(p.rows, warps, most_blocks);
  dispatch_gpu(p.dtype, [&]<class T>() {
    dispatch_gpu(p.x_dtype, [&]<class X>() {
      with_pairs(p.D, [&]<int pairs>() {
        fwd_registers<T, X, pairs><<<blocks, threads, 0, l.stream>>>(p);
      });
    });
  });
}
void add_norm_fwd_row_per_warp(const AddNormFwd& p, const Launch& l) {
  const unsigned blocks = blocks_for(p.rows, warps, most_blocks);
  dispatch_gpu(p.dtype, [&]<class T>() {
    dispatch_gpu(p.x_dtype,
                 [&]<class X>() { fwd_row_per_warp<T, X><<<blocks, threads, 0, l.stream>>>(p); });
  });
}

bool add_norm_bwd_registers_supports(const AddNormBwd& p, const Device&) {
  return fits_registers(p.D) && aligned_for_pairs(p.v, p.dy, p.dresidual_out, p.dx, p.dresidual);
}
size_t add_norm_bwd_registers_scratch(const AddNormBwd& p) {
  return sums_rows(p) ? bwd_blocks(p) * 2 * p.D * sizeof(float) : 0;
}
void add_norm_bwd_registers(const AddNormBwd& p, const Launch& l) {
  auto part = sums_rows(p) ? static_cast<float*>(l.scratch) : nullptr;  // (blocks, 2, D)
  const auto blocks = static_cast<unsigned>(bwd_blocks(p));
  dispatch_gpu(p.dtype, [&]<class T>() {
    dispatch_gpu(p.x_dtype, [&]<class X>() {
      with_pairs(p.D, [&]<int pairs>() {
        bwd_registers<T, X, pairs><<<blocks, threads, 2 * p.D * sizeof(float), l.stream>>>(p, part);
      });
    });
  });
  if (part) add_parts(p, part, blocks, l.stream);
}

size_t add_norm_bwd_row_per_warp_scratch(const AddNormBwd& p) {
  return sums_rows(p) ? column_slices(p) * 2 * p.D * sizeof(float) : 0;
}
void add_norm_bwd_row_per_warp(const AddNormBwd& p, const Launch& l) {
  dispatch_gpu(p.dtype, [&]<class T>() {
    if (p.dx || p.dresidual)
      dispatch_gpu(p.x_dtype, [&]<class X>() {
        bwd_row_per_warp<T, X><<<blocks_for(p.rows, warps, most_blocks), threads, 0, l.stream>>>(p);
      });
    if (!sums_rows(p)) return;
    auto part = static_cast<float*>(l.scratch);  // (slices, 2, D)
    const int64_t slices = column_slices(p), per = (p.rows + slices - 1) / slices;
    bwd_columns<T><<<dim3(blocks_for(p.D, 32), static_cast<unsigned>(slices)), dim3(32, warps), 0,
                     l.stream>>>(p, per, part);
    add_parts(p, part, slices, l.stream);
  });
}

}  // namespace krait
