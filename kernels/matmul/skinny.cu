// GPU rows `narrow_result` and `narrow_sum`: bf16 products of a tall matrix, where one side of the
// small factor B is at most 64. Memory is the limit: all of B stays in shared memory, in the order
// in which the tensor cores take it, and the wide tall matrix (A, or C to be added to) passes once.
//   - A warp owns 32 rows at a time. Of these, pieces of 32 columns are on their way to shared
//     memory (cp.async) while an earlier one is used: 4 x 2 KB for each of 8 warps of a block.
//   - A lane fetches just the 16 bytes of a row that it will use itself, so nothing waits for other
//     warps. The tensor cores want other columns in a lane, but a sum may be taken in any order of
//     its terms, and columns of C may be in any order as long as those of B follow. So the
//     columns are renamed: a lane's own 8 columns become what the product wants there.
//   - Several products of the same sizes share the multiprocessors: grid line y has product y.
#include <algorithm>

#include "kernels/common/cuda.h"
#include "kernels/common/device/async_copy.cuh"
#include "kernels/common/device/dispatch.cuh"
#include "kernels/common/device/tensor_cores.cuh"
#include "kernels/common/device/wide_store.cuh"
#include "kernels/matmul/rows.h"

namespace krait {
namespace {

constexpr int warps = 8, threads = 32 * warps;
constexpr int tile = 32;   // rows
constexpr int piece = 32;  // columns
constexpr int depth = 4;   // pieces on their way
constexpr int most_products = 8;

// For each piece on its way, a thread's 8 columns of 4 rows.
using Slots = uint4[depth][tile / 8][threads];

// A lane has rows lane / 4 + 8 i of a tile, and columns lane % 4 * 8 .. + 7 of a piece.
// Tile 0 goes to the first block, 1 to the second, ..: each gets as many, few as they may be.
__device__ __forceinline__ int64_t first_tile() {
  return blockIdx.x + int64_t{threadIdx.x / 32} * gridDim.x;
}
__device__ __forceinline__ int64_t next_tile(int64_t tile) {
  return tile + int64_t{gridDim.x} * warps;
}

__device__ __forceinline__ void take_product(Matmul& p) {
  p.a = static_cast<const bf16*>(p.a) + blockIdx.y * p.a_next;
  p.b = static_cast<const bf16*>(p.b) + blockIdx.y * p.b_next;
  p.c = static_cast<bf16*>(p.c) + blockIdx.y * p.c_next;
}

// The pieces of the wide matrix in the order a warp uses them: all of a tile, then the next tile.
class Pieces {
 public:
  __device__ Pieces(Slots& slots, const void* from, int64_t rows, int64_t row, int pieces)
      : slots_(slots), rows_(rows), row_(row), pieces_(pieces), lane_row_(threadIdx.x % 32 / 4) {
    from_ = static_cast<const bf16*>(from) + threadIdx.x % 4 * 8;
    r_ = first_tile() * tile + lane_row_;
    for (int i = 0; i < depth; ++i) fetch();
  }
  // The next piece; the one after the last on its way is sent for.
  __device__ void take(uint4 (&x)[tile / 8]) {
    wait_for_async_groups_but<depth - 1>();
#pragma unroll
    for (int i = 0; i < tile / 8; ++i) x[i] = slots_[slot_][i][threadIdx.x];
    __syncwarp();  // read before it is written again
    fetch();
  }

 private:
  __device__ void fetch() {
    if (r_ - lane_row_ < rows_) {
#pragma unroll
      for (int i = 0; i < tile / 8; ++i)
        async_copy_16(&slots_[slot_][i][threadIdx.x], from_ + (r_ + 8 * i) * row_ + at_ * piece,
                      r_ + 8 * i < rows_);
      if (++at_ == pieces_) at_ = 0, r_ += int64_t{gridDim.x} * warps * tile;
    }
    close_async_group();  // also an empty one: they are counted
    slot_ = (slot_ + 1) % depth;
  }
  Slots& slots_;
  const bf16* from_;
  const int64_t rows_, row_;
  const int pieces_, lane_row_;
  int64_t r_;  // the lane's first row of the tile to fetch
  int at_ = 0, slot_ = 0;
};

// C (m, n) = A (m, k) B^T, n <= 8 * tiles, B stored (n, k). Terms 8 q .. 8 q + 7 of each 32 in the
// sum are lane q's (q = lane % 4): it takes pairs 0 and 1 of them for terms 2 q, 2 q + 1, 2 q + 8
// and 2 q + 9 of one product, pairs 2 and 3 for those of another.
template <int tiles>
__global__ __launch_bounds__(threads) void narrow_result(Matmul p) {
  extern __shared__ uint4 memory[];
  take_product(p);
  auto& slots = *reinterpret_cast<Slots*>(memory);
  uint4* weights = memory + sizeof(Slots) / 16;  // [piece][tile of 8 columns of C][lane]
  const int lane = threadIdx.x % 32, pieces = static_cast<int>(p.k) / piece;
  for (int i = threadIdx.x; i < pieces * tiles * 32; i += threads) {
    // Columns 4 q .. 4 q + 3 of each 16 of C are lane q's: it has two in each of two tiles.
    const int t = i / 32 % tiles, column = lane / 4;
    const int n = t / 2 * 16 + column / 2 * 4 + t % 2 * 2 + column % 2;
    const int64_t k = i / 32 / tiles * piece + lane % 4 * 8;
    async_copy_16(weights + i, static_cast<const bf16*>(p.b) + n * p.b_row + k, n < p.n);
  }
  close_async_group();
  Pieces a(slots, p.a, p.m, p.a_row, pieces);
  wait_for_async_groups_but<depth>();
  __syncthreads();

  for (int64_t at = first_tile(); at * tile < p.m; at = next_tile(at)) {
    float sum[2][tiles][4] = {};  // 16 rows each
    for (int l = 0; l < pieces; ++l) {
      uint4 x[4];
      a.take(x);
#pragma unroll
      for (int t = 0; t < tiles; ++t) {
        const uint4 w = weights[(l * tiles + t) * 32 + lane];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const uint4 &up = x[2 * i], &low = x[2 * i + 1];
          multiply_add(sum[i][t], up.x, low.x, up.y, low.y, w.x, w.y);
          multiply_add(sum[i][t], up.z, low.z, up.w, low.w, w.z, w.w);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int64_t row = at * tile + i * 8 + lane / 4;
#pragma unroll
      for (int t = 0; t < tiles; t += 2) {
        const int n = t * 8 + lane % 4 * 4;
        const float *c = &sum[i / 2][t][i % 2 * 2], *d = &sum[i / 2][t + 1][i % 2 * 2];
        if (row < p.m && n < p.n)
          store_8(static_cast<bf16*>(p.c) + row * p.c_row + n,
                  {bf16_pair(c[0], c[1]), bf16_pair(d[0], d[1])});
      }
    }
  }
}

// C (m, n) = or += A (m, k) B, k <= 16 * steps, B stored (k, n). Terms 4 q .. 4 q + 3 of each 16 in
// the sum are lane q's, and columns 8 q .. 8 q + 7 of each 32 of C: two in each of four products.
template <int steps, bool add>
__global__ __launch_bounds__(threads) void narrow_sum(Matmul p) {
  extern __shared__ uint4 memory[];
  take_product(p);
  auto& slots = *reinterpret_cast<Slots*>(memory);
  // [piece of C][tile of 8 columns][step][lane]: 4 terms of a column.
  auto* weights = reinterpret_cast<uint2*>(memory + (add ? sizeof(Slots) / 16 : 0));
  const int lane = threadIdx.x % 32, pieces = static_cast<int>(p.n) / piece;
  auto load_a = [&](int64_t at, uint2(&x)[4][steps]) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int s = 0; s < steps; ++s) {
        const int64_t row = at * tile + i * 8 + lane / 4;
        const int k = s * 16 + lane % 4 * 4;
        x[i][s] = {0, 0};
        if (row < p.m && k < p.k)
          x[i][s] =
              *reinterpret_cast<const uint2*>(static_cast<const bf16*>(p.a) + row * p.a_row + k);
      }
  };
  // C on its way, A of the first tile, then B, which is needed first but comes from the L2 cache.
  Pieces c(slots, p.c, add ? p.m : 0, p.c_row, pieces);
  uint2 next[4][steps];
  load_a(first_tile(), next);
  for (int i = threadIdx.x; i < pieces * 4 * steps * 4; i += threads) {
    // 4 rows from k on, 8 columns from n on, turned into 8 columns of 4.
    const int group = i % (pieces * 4), quad = i / (pieces * 4), k = quad * 4, n = group * 8;
    uint32_t row[4][4] = {};
#pragma unroll
    for (int r = 0; r < 4; ++r)
      if (k + r < p.k) {
        const uint4 v =
            *reinterpret_cast<const uint4*>(static_cast<const bf16*>(p.b) + (k + r) * p.b_row + n);
        row[r][0] = v.x, row[r][1] = v.y, row[r][2] = v.z, row[r][3] = v.w;
      }
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int t = j / 2, column = group % 4 * 2 + j % 2, which = j % 2 ? 0x7632 : 0x5410;
      weights[((group / 4 * 4 + t) * steps + quad / 4) * 32 + column * 4 + quad % 4] = {
          __byte_perm(row[0][t], row[1][t], which), __byte_perm(row[2][t], row[3][t], which)};
    }
  }
  __syncthreads();

  for (int64_t at = first_tile(); at * tile < p.m; at = next_tile(at)) {
    uint2 a[4][steps];
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int s = 0; s < steps; ++s) a[i][s] = next[i][s];
    load_a(next_tile(at), next);
    for (int l = 0; l < pieces; ++l) {
      float sum[2][4][4] = {};
      if constexpr (add) {
        uint4 x[4];
        c.take(x);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const uint32_t pairs[4] = {x[i].x, x[i].y, x[i].z, x[i].w};
#pragma unroll
          for (int t = 0; t < 4; ++t) {
            sum[i / 2][t][i % 2 * 2] = first_of(pairs[t]);
            sum[i / 2][t][i % 2 * 2 + 1] = second_of(pairs[t]);
          }
        }
      }
#pragma unroll
      for (int t = 0; t < 4; ++t)
#pragma unroll
        for (int s = 0; s < steps; ++s) {
          const uint2 w = weights[((l * 4 + t) * steps + s) * 32 + lane];
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            const uint2 &up = a[2 * i][s], &low = a[2 * i + 1][s];
            multiply_add(sum[i][t], up.x, low.x, up.y, low.y, w.x, w.y);
          }
        }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int64_t row = at * tile + i * 8 + lane / 4;
        uint32_t pairs[4];
#pragma unroll
        for (int t = 0; t < 4; ++t)
          pairs[t] = bf16_pair(sum[i / 2][t][i % 2 * 2], sum[i / 2][t][i % 2 * 2 + 1]);
        if (row < p.m)
          store_16(static_cast<bf16*>(p.c) + row * p.c_row + l * piece + lane % 4 * 8,
                   uint4{pairs[0], pairs[1], pairs[2], pairs[3]});
      }
    }
  }
}

bool on_multiples(int64_t bytes, const void* p, int64_t row, int64_t next) {
  return reinterpret_cast<uintptr_t>(p) % uintptr_t(bytes) == 0 && row * 2 % bytes == 0 &&
         next * 2 % bytes == 0;
}
size_t result_bytes(const Matmul& p) {  // C's columns in pairs of tiles
  return sizeof(Slots) + (p.n + 15) / 16 * 16 * p.k * sizeof(bf16);
}
size_t sum_bytes(const Matmul& p) {
  return (p.accumulate ? sizeof(Slots) : 0) + (p.k + 15) / 16 * 16 * p.n * sizeof(bf16);
}
bool skinny(const Matmul& p, const Device& device) {
  return device.sm >= 80 && p.dtype == DType::bf16 && p.c_dtype == DType::bf16 && p.m > 0 &&
         p.n > 0 && p.k > 0 && !p.trans_a && p.count <= most_products;
}
// A block for each multiprocessor, as its share of B is paid for once.
template <class K>
void launch(K* kernel, size_t bytes, const Matmul& p, const Launch& l) {
  KRAIT_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)));
  const unsigned x =
      blocks_for(p.m, tile, std::max<int64_t>(l.device.multiprocessors / p.count, 1));
  kernel<<<dim3(x, static_cast<unsigned>(p.count)), threads, bytes, l.stream>>>(p);
}

}  // namespace

bool matmul_narrow_result_supports(const Matmul& p, const Device& device) {
  return skinny(p, device) && p.trans_b && !p.accumulate && p.n <= 64 && p.n % 4 == 0 &&
         p.k <= 4096 && p.k % piece == 0 && on_multiples(16, p.a, p.a_row, p.a_next) &&
         on_multiples(16, p.b, p.b_row, p.b_next) && on_multiples(8, p.c, p.c_row, p.c_next) &&
         result_bytes(p) <= most_shared_bytes(device.sm);
}
void matmul_narrow_result(const Matmul& p, const Launch& l) {
  const auto run = [&]<int tiles>() { launch(narrow_result<tiles>, result_bytes(p), p, l); };
  if (p.n <= 16) return run.operator()<2>();
  if (p.n <= 32) return run.operator()<4>();
  if (p.n <= 48) return run.operator()<6>();
  run.operator()<8>();
}

bool matmul_narrow_sum_supports(const Matmul& p, const Device& device) {
  return skinny(p, device) && !p.trans_b && p.k <= 64 && p.k % 4 == 0 && p.n <= 4096 &&
         p.n % piece == 0 && on_multiples(8, p.a, p.a_row, p.a_next) &&
         on_multiples(16, p.b, p.b_row, p.b_next) && on_multiples(16, p.c, p.c_row, p.c_next) &&
         sum_bytes(p) <= most_shared_bytes(device.sm);
}
void matmul_narrow_sum(const Matmul& p, const Launch& l) {
  const auto run = [&]<int steps>() {
    if (p.accumulate) return launch(narrow_sum<steps, true>, sum_bytes(p), p, l);
    launch(narrow_sum<steps, false>, sum_bytes(p), p, l);
  };
  if (p.k <= 16) return run.operator()<1>();
  if (p.k <= 32) return run.operator()<2>();
  if (p.k <= 48) return run.operator()<3>();
  run.operator()<4>();
}

}  // namespace krait
