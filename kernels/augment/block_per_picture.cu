// GPU row of make_batch. Block i makes picture i: one thread draws for all, then a thread owns
// every 256th pixel, in all channels, and every 256th class.
#include "kernels/augment/normalise.h"
#include "kernels/common/device/dispatch.cuh"

namespace krait {
namespace {

constexpr int threads = 256;

template <class T>
__global__ void __launch_bounds__(threads, 4)
    make_batch(const __grid_constant__ MakeBatch p,
               const __grid_constant__ BatchConstants<float> k) {
  const int64_t i = blockIdx.x;
  __shared__ alignas(PictureDraw) unsigned char memory[sizeof(PictureDraw)];
  PictureDraw& d = *reinterpret_cast<PictureDraw*>(memory);
  if (threadIdx.x == 0) draw_picture(d, p, i);
  __syncthreads();
  const int pixels = p.S * p.S;
  T* out = static_cast<T*>(p.images) + i * p.channels * pixels;
  for (int at = threadIdx.x; at < pixels; at += threads) {
    const int y = at / p.S, x = at % p.S;
    for (int c = 0; c < p.channels; ++c) {
      const int value = c * pixels + at;
      out[value] = T(batch_value(p, k, d, i, c, y, x, value));
    }
  }
  float* targets = static_cast<float*>(p.targets) + i * p.classes;
  for (int c = threadIdx.x; c < p.classes; c += threads) targets[c] = batch_target(k, d, c);
}

}  // namespace

void make_batch_block_per_picture(const MakeBatch& p, const Launch& l) {
  if (p.B == 0) return;
  const BatchConstants<float> k(p);
  dispatch_gpu(p.dtype, [&]<class T>() {
    make_batch<T><<<static_cast<unsigned>(p.B), threads, 0, l.stream>>>(p, k);
  });
}

}  // namespace krait
