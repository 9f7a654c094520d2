// CPU row, f32: C is computed in tiles of 6 rows and two vectors of columns, whose sums stay in
// registers. An element's products are added in the order of k, whatever the number of threads.
#include <algorithm>
#include <cstring>
#include <omp.h>
#include <vector>

#include "kernels/common/lanes.h"
#include "kernels/matmul/rows.h"

namespace krait {
namespace {

constexpr int tile_rows = 6;  // 12 sums, 2 vectors of B and one number of A fill the 16 registers
constexpr int tile_columns = 2 * lanes;
constexpr int64_t depth = 256;  // steps of k before the sums go to C: B's columns stay in L1

// The tile at c += A B or = A B. A's element (r, k) is at a[r * a_row + k * a_step]; B's columns
// are a panel: (depth, tile_columns). `columns`: of the tile, the last tile may have fewer.
template <int rows>
void tile(const float* a, int64_t a_row, int64_t a_step, const float* panel, int64_t k, float* c,
          int64_t c_row, int columns, bool add) {
  Lanes sum[rows][2];
#pragma GCC unroll 6
  for (int r = 0; r < rows; ++r) {
    sum[r][0] = sum[r][1] = Lanes{};
    __builtin_prefetch(c + r * c_row, 1);
  }
  for (; k > 0; --k, a += a_step, panel += tile_columns) {
    const Lanes b0 = load(panel), b1 = load(panel + lanes);
#pragma GCC unroll 6
    for (int r = 0; r < rows; ++r) {
      const Lanes x = all_lanes(a[r * a_row]);
      sum[r][0] += x * b0;
      sum[r][1] += x * b1;
    }
  }
  if (columns == tile_columns) {
#pragma GCC unroll 6
    for (int r = 0; r < rows; ++r) {
      store_or_add(c + r * c_row, sum[r][0], lanes, add);
      store_or_add(c + r * c_row + lanes, sum[r][1], lanes, add);
    }
  } else {
    float all[rows][tile_columns];
#pragma GCC unroll 6
    for (int r = 0; r < rows; ++r) {
      store(all[r], sum[r][0]);
      store(all[r] + lanes, sum[r][1]);
    }
    for (int r = 0; r < rows; ++r)
      for (int j = 0; j < columns; ++j)
        c[r * c_row + j] = (add ? c[r * c_row + j] : 0.0f) + all[r][j];
  }
}
using Tile = void (*)(const float*, int64_t, int64_t, const float*, int64_t, float*, int64_t, int,
                      bool);
constexpr Tile tile_of[tile_rows + 1] = {nullptr, tile<1>, tile<2>, tile<3>,
                                         tile<4>, tile<5>, tile<6>};

// Rows k to k + steps - 1 of op(B), columns j to j + tile_columns - 1, beyond n zeros.
void pack_panel(const Matmul& p, int64_t k, int64_t steps, int64_t j, float* to) {
  const float* b = static_cast<const float*>(p.b);
  const int columns = static_cast<int>(std::min<int64_t>(p.n - j, tile_columns));
  if (columns < tile_columns) std::fill_n(to, steps * tile_columns, 0.0f);
  for (int64_t s = 0; s < steps; ++s, to += tile_columns) {
    if (p.trans_b) {
      for (int c = 0; c < columns; ++c) to[c] = b[(j + c) * p.b_row + k + s];
      continue;
    }
    const float* from = b + (k + s) * p.b_row + j;
    __builtin_prefetch(from + 8 * p.b_row);
    if (columns == tile_columns)
      std::memcpy(to, from, tile_columns * sizeof(float));
    else
      std::copy_n(from, columns, to);
  }
}
// Rows i to i_end - 1 of A, which is stored transposed, in groups of a tile's rows: (groups, depth,
// tile_rows).
void pack_rows(const Matmul& p, int64_t i, int64_t i_end, int64_t k, int64_t steps, float* to) {
  const float* a = static_cast<const float*>(p.a);
  for (int64_t s = 0; s < steps; ++s)
    for (int64_t row = i; row < i_end; row += tile_rows) {
      const float* from = a + (k + s) * p.a_row + row;
      __builtin_prefetch(from + 4 * p.a_row);
      float* group = to + (row - i) * depth + s * tile_rows;
      if (row + tile_rows <= i_end)
        std::memcpy(group, from, tile_rows * sizeof(float));
      else
        for (int64_t r = 0; row + r < i_end; ++r) group[r] = from[r];
    }
}

int64_t pieces(int64_t n, int64_t size) {
  return (n + size - 1) / size;
}
// Elements of op(B) in panels (panels, k, tile_columns), all packed at once where B is stored
// transposed: weights, which are small, and every row of C needs them.
int64_t packed_count(const Matmul& p) {
  return p.trans_b ? pieces(p.n, tile_columns) * p.k * tile_columns : 0;
}

// Rows [i, i_end) and columns [j, j_end) of C. all_b: packed panels, or null. a_work, b_work: room
// for the block's rows of A and for one panel.
void block(const Matmul& p, int64_t i, int64_t i_end, int64_t j, int64_t j_end, const float* all_b,
           float* a_work, float* b_work) {
  const bool pack_a = p.trans_a && j_end - j > tile_columns;  // else it would be read once
  for (int64_t k = 0; k < p.k; k += depth) {
    const int64_t steps = std::min(p.k - k, depth);
    if (pack_a) pack_rows(p, i, i_end, k, steps, a_work);
    for (int64_t column = j; column < j_end; column += tile_columns) {
      const float* panel = all_b ? all_b + column * p.k + k * tile_columns : b_work;
      if (!all_b) pack_panel(p, k, steps, column, b_work);
      for (int64_t row = i; row < i_end; row += tile_rows) {
        const float* a = static_cast<const float*>(p.a);
        int64_t a_row = p.a_row, a_step = 1;
        if (pack_a)
          a = a_work + (row - i) * depth, a_row = 1, a_step = tile_rows;
        else if (p.trans_a)
          a += k * p.a_row + row, a_row = 1, a_step = p.a_row;
        else
          a += row * p.a_row + k;
        tile_of[std::min<int64_t>(i_end - row, tile_rows)](
            a, a_row, a_step, panel, steps, static_cast<float*>(p.c) + row * p.c_row + column,
            p.c_row, static_cast<int>(std::min<int64_t>(p.n - column, tile_columns)),
            p.accumulate || k > 0);
      }
    }
  }
}

}  // namespace

bool matmul_register_tiles_supports(const Matmul& p, const Device&) {
#if KRAIT_BLAS && !defined(__AVX__) && !defined(__aarch64__)
  return false;  // a tile has more sums than registers, and a BLAS finds out what this machine has
#endif
  return p.dtype == DType::f32 && p.k > 0;
}
size_t matmul_register_tiles_scratch(const Matmul& p) {
  return packed_count(p) * sizeof(float);
}

void matmul_register_tiles(const Matmul& p, const Launch& l) {
  // C is cut into blocks until there are a few for every thread; this changes no result. Where B is
  // packed for all, few rows: they stay in L1, and the panels pass by in order.
  int64_t block_rows = (p.trans_b ? 4 : 32) * tile_rows, block_columns = 12 * tile_columns;
  const int64_t wanted = 2 * omp_get_max_threads();
  while (pieces(p.m, block_rows) * pieces(p.n, block_columns) < wanted) {
    if (block_columns > 4 * tile_columns)
      block_columns /= 2;
    else if (block_rows > 4 * tile_rows)
      block_rows /= 2;
    else
      break;
  }
  const int64_t columns = pieces(p.n, block_columns), count = pieces(p.m, block_rows) * columns;
  float* all_b = static_cast<float*>(l.scratch);
#pragma omp parallel if (p.m * p.n * p.k > 1 << 16)
  {
    std::vector<float> a_work(p.trans_a ? block_rows * depth : 0);
    std::vector<float> b_work(p.trans_b ? 0 : depth * tile_columns);
    if (p.trans_b)
#pragma omp for schedule(static)
      for (int64_t j = 0; j < p.n; j += tile_columns) pack_panel(p, 0, p.k, j, all_b + j * p.k);
        // Static: a thread then finds in its cache the images that it had in the kernel before.
#pragma omp for schedule(static)
    for (int64_t n = 0; n < count; ++n) {
      const int64_t i = n / columns * block_rows, j = n % columns * block_columns;
      block(p, i, std::min(i + block_rows, p.m), j, std::min(j + block_columns, p.n),
            p.trans_b ? all_b : nullptr, a_work.data(), b_work.data());
    }
  }
}

}  // namespace krait
