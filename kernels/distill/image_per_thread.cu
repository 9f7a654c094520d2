// GPU rows: a thread owns an image; the functions of distill.h, which the CPU uses too. The images'
// losses are added by one block in a fixed order.
#include "kernels/common/device/add_images.cuh"
#include "kernels/common/device/dispatch.cuh"
#include "kernels/distill/rows.h"

namespace krait {
namespace {

constexpr int threads = 128;

__device__ int64_t image_of_thread() {
  return int64_t{blockIdx.x} * threads + threadIdx.x;
}

template <class T>
__global__ void fwd(KlFwd p, float* image) {
  const int64_t b = image_of_thread();
  if (b < p.B) image[b] = kl_of_image<T, float>(p, b);
}
template <class T>
__global__ void bwd(KlBwd p, float scale) {
  const int64_t b = image_of_thread();
  if (b < p.B) kl_gradient<T, float>(p, *static_cast<const float*>(p.dloss) * scale, b);
}
template <class T>
__global__ void targets(LogitTargets p) {
  const int64_t b = image_of_thread();
  if (b < p.B) targets_of_row<T, float>(p, b);
}

}  // namespace

void kl_fwd_image_per_thread(const KlFwd& p, const Launch& l) {
  float* image = static_cast<float*>(l.scratch);  // (B)
  dispatch_gpu(p.dtype, [&]<class T>() {
    fwd<T><<<blocks_for(p.B, threads), threads, 0, l.stream>>>(p, image);
  });
  const double scale = p.tau * p.tau / (double(p.B) * double(p.C));
  add_images<<<1, add_images_threads, 0, l.stream>>>(image, p.B, scale,
                                                     static_cast<float*>(p.loss));
}
bool kl_fwd_gpu_fits(const KlFwd& p, const Device&) {
  return p.dtype != DType::f64;
}
void kl_bwd_image_per_thread(const KlBwd& p, const Launch& l) {
  const float scale = float(p.tau / (double(p.B) * double(p.C)));
  dispatch_gpu(p.dtype, [&]<class T>() {
    bwd<T><<<blocks_for(p.B, threads), threads, 0, l.stream>>>(p, scale);
  });
}
bool kl_bwd_gpu_fits(const KlBwd& p, const Device&) {
  return p.dtype != DType::f64;
}
void logit_targets_image_per_thread(const LogitTargets& p, const Launch& l) {
  dispatch_gpu(p.dtype, [&]<class T>() {
    targets<T><<<blocks_for(p.B, threads), threads, 0, l.stream>>>(p);
  });
}
bool logit_targets_gpu_fits(const LogitTargets& p, const Device&) {
  return p.dtype != DType::f64;
}

}  // namespace krait
