// Products of small bf16 matrices on the tensor cores (sm_80 and later): a warp loads them from
// shared memory into the registers of its lanes, and multiplies there.
#pragma once

#include <cstdint>

#include "kernels/common/device/pair.cuh"

namespace krait {

// The two numbers of a pair of bf16, as bf16_pair (pair.cuh) puts them together.
__device__ __forceinline__ float first_of(uint32_t pair) {
  return __uint_as_float(pair << 16);
}
__device__ __forceinline__ float second_of(uint32_t pair) {
  return __uint_as_float(pair & 0xFFFF0000u);
}

// Loads four 8 x 8 matrices of bf16 for a product; lane i gives the address of row i % 8 of the
// matrix i / 8. A lane gets the pair (row lane / 4, columns lane % 4 * 2 and the next) of each, or,
// transposed, (column lane / 4, rows lane % 4 * 2 and the next).
template <bool transposed>
__device__ __forceinline__ void load_matrices(uint32_t (&a)[4], const uint4& row) {
  const auto at = static_cast<unsigned>(__cvta_generic_to_shared(&row));
  if constexpr (transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
                 : "r"(at)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
                 : "r"(at)
                 : "memory");
}

// c (16 x 8) += a (16 x 16) b (16 x 8) on the tensor cores, bf16 to f32. A lane holds, with i =
// lane / 4 and j = lane % 4 * 2: of a the pairs from (i, j), (i + 8, j), (i, j + 8), (i + 8, j + 8)
// on, of b those down from (j, i) and (j + 8, i), of c (i, j), (i, j + 1) and the same 8 rows
// below.
__device__ __forceinline__ void multiply_add(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2,
                                             uint32_t a3, uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// Bytes of shared memory a block may ask for.
inline size_t most_shared_bytes(int sm) {
  return (sm == 80 || sm == 87 ? 163 : sm >= 90 && sm < 120 ? 227 : 99) * size_t{1024};
}

}  // namespace krait
