// The sum of one number per image, always in the same order.
#pragma once

#include <cstdint>

namespace krait {

constexpr int add_images_threads = 256;

// One block: thread i adds images i, i + 256, ..; then halves of the threads are added.
// loss[0] = scale * sum. Launch with <<<1, add_images_threads>>>.
static __global__ void add_images(const float* image, int64_t B, double scale, float* loss) {
  __shared__ double sum[add_images_threads];
  const int i = threadIdx.x;
  sum[i] = 0;
  for (int64_t b = i; b < B; b += add_images_threads) sum[i] += double(image[b]);
  for (int half = add_images_threads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (i < half) sum[i] += sum[i + half];
  }
  if (i == 0) *loss = float(sum[0] * scale);
}

}  // namespace krait
