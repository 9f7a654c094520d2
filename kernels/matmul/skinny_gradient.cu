// GPU row `narrow_gradient`: C += A^T B, bf16 to f32, where A and B are tall and one of them is at
// most 64 wide, as in gradients of weights. A block multiplies one range of the rows for 128
// columns of the wide one and leaves a partial sum in scratch; a second kernel adds them in order.
// The ranges follow from the sizes alone, so the result does not depend on the device.
#include "kernels/common/cuda.h"
#include "kernels/common/device/add_slices.cuh"
#include "kernels/common/device/async_copy.cuh"
#include "kernels/common/device/tensor_cores.cuh"
#include "kernels/matmul/rows.h"

namespace krait {
namespace {

constexpr int slab = 64;      // rows that arrive in shared memory at a time
constexpr int columns = 128;  // of the wide matrix, of a block
constexpr int row_warps = slab / 16, column_warps = columns / 64;
constexpr int threads = 32 * row_warps * column_warps;
constexpr int depth = 4;  // slabs in shared memory, all but one on their way

struct Sides {
  const bf16 *narrow, *wide;
  int64_t narrow_row, wide_row;
  int narrow_width, wide_width;
  int64_t narrow_next, wide_next;  // from one product's to the next's
  bool narrow_is_b;                // so the result is transposed
};
Sides sides(const Matmul& p) {
  const auto *a = static_cast<const bf16*>(p.a), *b = static_cast<const bf16*>(p.b);
  const int m = static_cast<int>(p.m), n = static_cast<int>(p.n);
  return m <= n ? Sides{a, b, p.a_row, p.b_row, m, n, p.a_next, p.b_next, false}
                : Sides{b, a, p.b_row, p.a_row, n, m, p.b_next, p.a_next, true};
}

// 8 x 8 matrices are loaded by rows of 16 bytes: 8 of them should lie in different banks. So rows
// of the narrow matrix are an odd number of 16 bytes apart, and the 16-byte units of the wide one
// are exchanged by row.
template <int tiles>
struct Slab {
  uint4 wide[slab][columns / 8];
  uint4 narrow[slab][2 * tiles + 1];
};
__device__ __forceinline__ int wide_unit(int row, int unit) {
  return unit ^ row % 8;
}

// Block (x, y, z): columns 128 x .., rows y * per .. of product z. A warp takes 16 rows of each
// slab, 64 columns and all 16 * tiles columns of the narrow matrix.
template <int tiles>
__global__ __launch_bounds__(threads) void narrow_gradient(Sides p, int64_t rows, int64_t per,
                                                           float* part) {
  extern __shared__ uint4 memory[];
  auto& slabs = *reinterpret_cast<Slab<tiles>(*)[depth]>(memory);
  p.narrow += blockIdx.z * p.narrow_next;
  p.wide += blockIdx.z * p.wide_next;
  const int64_t from = per * blockIdx.y;
  const int here = static_cast<int>(from + per < rows ? per : rows - from);  // rows of the range
  const int count = (here + slab - 1) / slab, first_column = blockIdx.x * columns;
  // A thread fetches the same 16 bytes of every 16th row of the wide matrix, and of every 32nd of
  // the narrow one, where the last ones of a row may be missing.
  constexpr int wide_units = columns / 8, wide_lines = threads / wide_units,
                narrow_lines = threads / 8;
  const int wide_line = threadIdx.x / wide_units, wide_column = threadIdx.x % wide_units * 8;
  const int narrow_line = threadIdx.x / 8, narrow_unit = threadIdx.x % 8;
  const bool wide_in = first_column + wide_column < p.wide_width;
  const int narrow_bytes = 2 * max(0, min(p.narrow_width - narrow_unit * 8, 8));
  const bf16* wide = p.wide + (from + wide_line) * p.wide_row + first_column + wide_column;
  const bf16* narrow = p.narrow + (from + narrow_line) * p.narrow_row + narrow_unit * 8;
  auto fetch = [&](int s) {
    if (s < count) {
      auto& to = slabs[s % depth];
      const int left = here - s * slab;
#pragma unroll
      for (int r = 0; r < slab; r += wide_lines)
        async_copy_16(&to.wide[wide_line + r][wide_unit(wide_line, wide_column / 8)],
                      wide + r * p.wide_row, wide_in && wide_line + r < left);
      if (narrow_unit < 2 * tiles)
#pragma unroll
        for (int r = 0; r < slab; r += narrow_lines)
          async_copy_first(&to.narrow[narrow_line + r][narrow_unit], narrow + r * p.narrow_row,
                           narrow_line + r < left ? narrow_bytes : 0);
      wide += slab * p.wide_row, narrow += slab * p.narrow_row;
    }
    close_async_group();  // also an empty one: they are counted
  };
  static_assert(wide_lines % 8 == 0);  // so that all rows of a thread exchange alike

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int row_warp = warp / column_warps, column_warp = warp % column_warps;
  // Of the four matrices a load gets, lane i addresses row i % 8 of matrix i / 8. Of the narrow
  // side these are (columns 0-7, rows 0-7), (8-15, 0-7), (0-7, 8-15), (8-15, 8-15); of the wide
  // side the second and third change places.
  const int narrow_r = row_warp * 16 + lane / 16 * 8 + lane % 8, narrow_u = lane / 8 % 2;
  const int wide_r = row_warp * 16 + lane / 8 % 2 * 8 + lane % 8;
  const int wide_u = column_warp * 8 + lane / 16;
  float sum[tiles][8][4] = {};
  for (int s = 0; s < depth - 1; ++s) fetch(s);
  for (int s = 0; s < count; ++s) {
    wait_for_async_groups_but<depth - 2>();
    __syncthreads();  // slab s is there for all, and nobody reads slab s - 1 any more
    fetch(s + depth - 1);
    const auto& now = slabs[s % depth];
    uint32_t a[tiles][4];
#pragma unroll
    for (int i = 0; i < tiles; ++i)
      load_matrices<true>(a[i], now.narrow[narrow_r][narrow_u + 2 * i]);
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
      uint32_t b[4];
      load_matrices<true>(b, now.wide[wide_r][wide_unit(wide_r, wide_u + j)]);
#pragma unroll
      for (int i = 0; i < tiles; ++i) {
        multiply_add(sum[i][j], a[i][0], a[i][1], a[i][2], a[i][3], b[0], b[1]);
        multiply_add(sum[i][j + 1], a[i][0], a[i][1], a[i][2], a[i][3], b[2], b[3]);
      }
    }
  }

  // The warps that share columns: the upper half of them gives its sums to the lower half, twice.
  using Given = float4[row_warps / 2][tiles * 8][32 * column_warps];
  static_assert(sizeof(Given) <= sizeof(slabs));
  auto& given = *reinterpret_cast<Given*>(memory);
  const int column_thread = threadIdx.x % (32 * column_warps);
  wait_for_async_copies();
#pragma unroll
  for (int half = row_warps / 2; half > 0; half /= 2) {
    __syncthreads();
    if (row_warp >= half && row_warp < 2 * half)
#pragma unroll
      for (int i = 0; i < tiles * 8; ++i) {
        const float(&x)[4] = sum[i / 8][i % 8];
        given[row_warp - half][i][column_thread] = {x[0], x[1], x[2], x[3]};
      }
    __syncthreads();
    if (row_warp < half)
#pragma unroll
      for (int i = 0; i < tiles * 8; ++i) {
        float(&x)[4] = sum[i / 8][i % 8];
        const float4 y = given[row_warp][i][column_thread];
        x[0] += y.x, x[1] += y.y, x[2] += y.z, x[3] += y.w;
      }
  }
  if (row_warp > 0) return;
  part += int64_t{blockIdx.z * gridDim.y + blockIdx.y} * p.narrow_width * p.wide_width;
#pragma unroll
  for (int i = 0; i < tiles; ++i)
#pragma unroll
    for (int j = 0; j < 8; ++j)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int n = i * 16 + h * 8 + lane / 4;
        const int w = first_column + column_warp * 64 + j * 8 + lane % 4 * 2;
        if (n >= p.narrow_width || w >= p.wide_width) continue;
        const float2 x = {sum[i][j][2 * h], sum[i][j][2 * h + 1]};
        if (p.narrow_is_b) {
          part[w * p.narrow_width + n] = x.x;
          part[(w + 1) * p.narrow_width + n] = x.y;
        } else {
          *reinterpret_cast<float2*>(part + int64_t{n} * p.wide_width + w) = x;
        }
      }
}

int64_t column_groups(const Matmul& p) {
  return blocks_for(p.m > p.n ? p.m : p.n, columns);
}
// Rows of a range: about 132 blocks in all, one for each multiprocessor of an H100 or H200, and at
// least 4 slabs to a block, so that partial sums are few beside the rows.
int64_t rows_per_range(const Matmul& p) {
  const int64_t count = (p.k + slab - 1) / slab, most = 132 / (column_groups(p) * p.count);
  const int64_t per = most > 1 ? (count + most - 1) / most : count;
  return (per > 4 ? per : 4) * slab;
}
int64_t ranges(const Matmul& p) {
  return blocks_for(p.k, rows_per_range(p));
}
bool on_16(const void* p, int64_t row, int64_t next) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0 && row % 8 == 0 && next % 8 == 0;
}

}  // namespace

bool matmul_narrow_gradient_supports(const Matmul& p, const Device& device) {
  const int64_t narrow = p.m < p.n ? p.m : p.n, wide = p.m < p.n ? p.n : p.m;
  return device.sm >= 80 && p.dtype == DType::bf16 && p.c_dtype == DType::f32 && p.trans_a &&
         !p.trans_b && p.accumulate && p.k > 0 && narrow > 0 && narrow <= 64 && wide % 8 == 0 &&
         wide <= 4096 && p.c_row == p.n && on_16(p.a, p.a_row, p.a_next) &&
         on_16(p.b, p.b_row, p.b_next) && p.count <= 8 && p.k < int64_t{1} << 31 &&
         sizeof(Slab<4>) * depth <= most_shared_bytes(device.sm);
}
size_t matmul_narrow_gradient_scratch(const Matmul& p) {
  return p.count * ranges(p) * p.m * p.n * sizeof(float);
}
void matmul_narrow_gradient(const Matmul& p, const Launch& l) {
  const Sides s = sides(p);
  auto part = static_cast<float*>(l.scratch);  // (count, ranges, m, n)
  const dim3 grid(static_cast<unsigned>(column_groups(p)), static_cast<unsigned>(ranges(p)),
                  static_cast<unsigned>(p.count));
  const auto run = [&]<int tiles>() {
    const auto kernel = narrow_gradient<tiles>;
    constexpr int bytes = sizeof(Slab<tiles>) * depth;
    KRAIT_CUDA_CHECK(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
    kernel<<<grid, threads, bytes, l.stream>>>(s, p.k, rows_per_range(p), part);
  };
  if (s.narrow_width <= 16)
    run.operator()<1>();
  else if (s.narrow_width <= 32)
    run.operator()<2>();
  else if (s.narrow_width <= 48)
    run.operator()<3>();
  else
    run.operator()<4>();
  add_slices(part, p.m * p.n, ranges(p), p.m * p.n, static_cast<float*>(p.c), l.stream, p.count,
             p.c_next);
}

}  // namespace krait
