// GPU rows: tiles of 32 columns, so that any row stride and any alignment will do.
#include "kernels/common/device/add_slices.cuh"
#include "kernels/reduce/rows.h"

namespace krait {
namespace {

constexpr int lines = 8;  // rows a block works on at a time

// A thread owns one column of every (grid height * 8)-th row.
template <class T>
__global__ void add_bias(AddBias p) {
  const int64_t d = int64_t{blockIdx.x} * 32 + threadIdx.x;
  if (d >= p.D) return;
  const float b = static_cast<const float*>(p.b)[d];
  for (int64_t r = int64_t{blockIdx.y} * lines + threadIdx.y; r < p.rows;
       r += int64_t{gridDim.y} * lines) {
    T& y = static_cast<T*>(p.y)[r * p.row + d];
    y = T(float(y) + b);
  }
}

// Pass 1: block (c, s) owns 32 columns of slice s of the rows; a warp adds every eighth row of the
// slice, the first warp adds the warps. Pass 2 (add_slices) adds the slices.
template <class T>
__global__ void column_sum(ColumnSum p, int64_t per, float* part) {
  __shared__ float of_warp[lines][32];
  const int64_t d = int64_t{blockIdx.x} * 32 + threadIdx.x, from = per * blockIdx.y;
  const int64_t to = from + per < p.rows ? from + per : p.rows;
  float s = 0;
  if (d < p.D)
    for (int64_t r = from + threadIdx.y; r < to; r += lines)
      s += float(static_cast<const T*>(p.x)[r * p.row + d]);
  of_warp[threadIdx.y][threadIdx.x] = s;
  __syncthreads();
  if (threadIdx.y > 0 || d >= p.D) return;
  for (int w = 1; w < lines; ++w) s += of_warp[w][threadIdx.x];
  part[blockIdx.y * p.D + d] = s;
}

// At least 128 rows to a slice, so that the second pass is short beside the first.
int64_t slices(const ColumnSum& p) {
  return blocks_for(p.rows, 128, 256);
}

}  // namespace

void add_bias_tile(const AddBias& p, const Launch& l) {
  const dim3 grid(blocks_for(p.D, 32), blocks_for(p.rows, 4 * lines, 4096));
  dispatch_gpu(p.dtype, [&]<class T>() { add_bias<T><<<grid, dim3(32, lines), 0, l.stream>>>(p); });
}

size_t column_sum_two_pass_scratch(const ColumnSum& p) {
  return slices(p) * p.D * sizeof(float);
}
void column_sum_two_pass(const ColumnSum& p, const Launch& l) {
  auto part = static_cast<float*>(l.scratch);  // (slices, D)
  const int64_t n = slices(p), per = (p.rows + n - 1) / n;
  const dim3 grid(blocks_for(p.D, 32), static_cast<unsigned>(n));
  dispatch_gpu(p.dtype, [&]<class T>() {
    column_sum<T><<<grid, dim3(32, lines), 0, l.stream>>>(p, per, part);
  });
  add_slices(part, p.D, n, p.D, static_cast<float*>(p.sum), l.stream);
}

}  // namespace krait
