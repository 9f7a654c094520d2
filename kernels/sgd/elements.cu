// GPU row. A thread owns every (grid size)-th element. Limited by memory: see sgd.md.
#include "kernels/common/device/dispatch.cuh"
#include "kernels/sgd/rows.h"

namespace krait {
namespace {

template <class T>
__global__ void sgd(Sgd p) {
  const SgdStep<float> step(p);
  float* const master = static_cast<float*>(p.master);
  float* const grad = static_cast<float*>(p.grad);
  float* const m = static_cast<float*>(p.m);
  KRAIT_GRID_STRIDE(i, p.n) {
    if (step.active) {
      float weight = master[i], velocity = m[i];
      step(weight, grad[i], velocity, i < p.n_decay, rate_at(p.rates, i));
      master[i] = weight;
      m[i] = velocity;
      if (p.ema) step.average(static_cast<float*>(p.ema)[i], weight);
      if (p.copy) static_cast<T*>(p.copy)[i] = T(weight);
    }
    grad[i] = 0;
  }
}

}  // namespace

void sgd_elements(const Sgd& p, const Launch& l) {
  dispatch_gpu(p.dtype,
               [&]<class T>() { sgd<T><<<blocks_for(p.n, 256, 8192), 256, 0, l.stream>>>(p); });
}
bool sgd_elements_fit(const Sgd& p, const Device&) {
  return p.dtype != DType::f64;
}

}  // namespace krait
