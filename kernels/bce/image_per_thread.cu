// GPU rows. Forward: a thread owns an image, its sum goes to scratch, and one block adds the images
// in a fixed order. Backward: a thread owns a logit. A batch has few of them: both take
// microseconds.
#include "kernels/bce/rows.h"
#include "kernels/common/device/add_images.cuh"
#include "kernels/common/device/dispatch.cuh"

namespace krait {
namespace {

constexpr int threads = 128;

template <class T>
__global__ void fwd(BceFwd p, float* image) {
  const int64_t b = int64_t{blockIdx.x} * threads + threadIdx.x;
  if (b < p.B) image[b] = bce_of_image<T, float>(p, b);
}
template <class T>
__global__ void bwd(BceBwd p, float scale) {
  const float s = *static_cast<const float*>(p.dloss) * scale;
  KRAIT_GRID_STRIDE(i, p.B * p.C) bce_gradient<T, float>(p, s, i);
}

template <class P>
double scale_of(const P& p) {
  return 1.0 / (double(p.B) * double(p.C));
}

}  // namespace

void bce_fwd_image_per_thread(const BceFwd& p, const Launch& l) {
  float* image = static_cast<float*>(l.scratch);  // (B)
  dispatch_gpu(p.dtype, [&]<class T>() {
    fwd<T><<<blocks_for(p.B, threads), threads, 0, l.stream>>>(p, image);
  });
  add_images<<<1, add_images_threads, 0, l.stream>>>(image, p.B, scale_of(p),
                                                     static_cast<float*>(p.loss));
}
bool bce_fwd_gpu_fits(const BceFwd& p, const Device&) {
  return p.dtype != DType::f64;
}
void bce_bwd_elements(const BceBwd& p, const Launch& l) {
  dispatch_gpu(p.dtype, [&]<class T>() {
    bwd<T><<<blocks_for(p.B * p.C, threads, 4096), threads, 0, l.stream>>>(p, float(scale_of(p)));
  });
}
bool bce_bwd_gpu_fits(const BceBwd& p, const Device&) {
  return p.dtype != DType::f64;
}

}  // namespace krait
