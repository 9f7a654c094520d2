// GPU rows. A thread owns W neighbouring elements (4: one 16-byte access per block), and every
// (grid size)-th group of W. Limited by memory: see adamw.md.
#include "kernels/adamw/rows.h"
#include "kernels/common/device/dispatch.cuh"

namespace krait {
namespace {

template <class T, int W>
struct alignas(W * sizeof(T)) Group {
  T at[W];
};

template <class T, int W>
__global__ void adamw(AdamW p) {
  using Floats = Group<float, W>;
  const AdamWStep<float> step(p);
  const int64_t groups = p.n / W, stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t k = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; k < groups; k += stride) {
    if (step.active) {
      Floats master = static_cast<const Floats*>(p.master)[k];
      Floats m = static_cast<const Floats*>(p.m)[k];
      Floats v = static_cast<const Floats*>(p.v)[k];
      const Floats grad = static_cast<const Floats*>(p.grad)[k];
      const bool decays = k * W < p.n_decay;  // n_decay is a multiple of W
      const float rate = rate_at(p.rates, k * W);
#pragma unroll
      for (int i = 0; i < W; ++i) step(master.at[i], grad.at[i], m.at[i], v.at[i], decays, rate);
      static_cast<Floats*>(p.master)[k] = master;
      static_cast<Floats*>(p.m)[k] = m;
      static_cast<Floats*>(p.v)[k] = v;
      if (p.ema) {
        Floats ema = static_cast<const Floats*>(p.ema)[k];
#pragma unroll
        for (int i = 0; i < W; ++i) step.average(ema.at[i], master.at[i]);
        static_cast<Floats*>(p.ema)[k] = ema;
      }
      if (p.copy) {
        Group<T, W> copy;
#pragma unroll
        for (int i = 0; i < W; ++i) copy.at[i] = T(master.at[i]);
        static_cast<Group<T, W>*>(p.copy)[k] = copy;
      }
    }
    if (p.zero_grad) static_cast<Floats*>(p.grad)[k] = Floats{};
  }
}

template <int W>
void launch(const AdamW& p, const Launch& l) {
  dispatch_gpu(p.dtype, [&]<class T>() {
    adamw<T, W><<<blocks_for(p.n / W, 256, 8192), 256, 0, l.stream>>>(p);
  });
}

bool aligned(const void* p) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0;
}

}  // namespace

void adamw_vectors(const AdamW& p, const Launch& l) {
  launch<4>(p, l);
}
bool adamw_vectors_fit(const AdamW& p, const Device& d) {
  return adamw_elements_fit(p, d) && p.n % 4 == 0 && p.n_decay % 4 == 0 && aligned(p.master) &&
         aligned(p.grad) && aligned(p.m) && aligned(p.v) && aligned(p.ema) && aligned(p.copy);
}
void adamw_elements(const AdamW& p, const Launch& l) {
  launch<1>(p, l);
}
bool adamw_elements_fit(const AdamW& p, const Device&) {
  return p.dtype != DType::f64;
}

}  // namespace krait
