// What the readable GPU rows of the scan, thread_per_channel and block_scan, share: numbers in and
// out of memory, and the functions of the formula by CUDA's own mathematics.
#pragma once

#include <cstdint>

namespace krait {

constexpr float log2e = 1.44269504088896f, ln2 = 0.69314718055995f;

template <class T>
__device__ float at(const void* p, int64_t i) {
  return float(static_cast<const T*>(p)[i]);
}
template <class T>
__device__ void put(void* p, int64_t i, float v, bool accumulate) {
  T& x = static_cast<T*>(p)[i];
  x = T(accumulate ? float(x) + v : v);
}
__device__ inline float sigmoid(float x) {
  return 1.0f / (1.0f + expf(-x));
}
__device__ inline float step_size(float x, bool softplus) {
  return !softplus || x > 20.0f ? x : log1pf(expf(x));
}

}  // namespace krait
