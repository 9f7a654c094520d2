// GPU row. Block i makes picture i: a thread owns every 256th pixel, in all channels, and every
// 256th class. Each thread works out the two windows for itself: some 100 integer instructions.
#include "kernels/augment/window.h"
#include "kernels/common/device/dispatch.cuh"

namespace krait {
namespace {

constexpr int threads = 256;

template <class T>
__global__ void make_batch(MakeBatch p, BatchConstants<float> k) {
  const int64_t i = blockIdx.x;
  const BatchMix<float> mix(p);
  const Window own(p, i), partner(p, p.B - 1 - i);
  const int pixels = p.S * p.S;
  T* out = static_cast<T*>(p.images) + i * p.channels * pixels;
  for (int at = threadIdx.x; at < pixels; at += threads) {
    const int y = at / p.S, x = at % p.S;
    for (int c = 0; c < p.channels; ++c) {
      float v = scaled_pixel(p, k, own, c, y, x);
      if (mix.mix != Mix::none)
        v = mix.pixel(*p.state, y, x, v, scaled_pixel(p, k, partner, c, y, x));
      out[c * pixels + at] = T(v);
    }
  }
  float* targets = static_cast<float*>(p.targets) + i * p.classes;
  for (int c = threadIdx.x; c < p.classes; c += threads)
    targets[c] = mix.target(c == own.label ? k.on : k.off, c == partner.label ? k.on : k.off);
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
