// GPU rows. A thread owns every (grid size)-th element; neighbours read neighbouring elements.
#include "kernels/common/device/dispatch.cuh"
#include "kernels/elementwise/rows.h"

namespace krait {
namespace {

constexpr int threads = 256;
constexpr int64_t most_blocks = 4096;

template <class T, class F>
__global__ void unary_fwd(UnaryFwd p) {
  KRAIT_GRID_STRIDE(i, p.n)
  static_cast<T*>(p.y)[i] = T(F::value(float(static_cast<const T*>(p.x)[i])));
}

template <class T, class F>
__global__ void unary_bwd(UnaryBwd p) {
  KRAIT_GRID_STRIDE(i, p.n) {
    const float g =
        float(static_cast<const T*>(p.dy)[i]) * F::slope(float(static_cast<const T*>(p.x)[i]));
    T& dx = static_cast<T*>(p.dx)[i];
    dx = T(p.accumulate ? float(dx) + g : g);
  }
}

template <class Y, class A, class B>
__global__ void add(Add p) {
  const float scale = float(p.scale);
  KRAIT_GRID_STRIDE(i, p.n) {
    const float a = scale * float(static_cast<const A*>(p.a)[i]);
    static_cast<Y*>(p.y)[i] = Y(p.b ? a + float(static_cast<const B*>(p.b)[i]) : a);
  }
}

template <class T>
__global__ void scale_columns_fwd(ScaleColumnsFwd p) {
  KRAIT_GRID_STRIDE(i, p.rows * p.D)
  static_cast<T*>(p.y)[i] =
      T(float(static_cast<const T*>(p.x)[i]) * static_cast<const float*>(p.s)[i % p.D]);
}

// Pass 1: block (c, s) owns 256 columns and a slice of the rows, and writes the slice's sum of
// dy x for each of its columns. Pass 2 adds the slices in order.
constexpr int slices = 64;
template <class T>
__global__ void scale_columns_bwd(ScaleColumnsBwd p, float* part) {
  const int64_t d = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (d >= p.D) return;
  const int64_t per = (p.rows + slices - 1) / slices, from = per * blockIdx.y;
  const float s = static_cast<const float*>(p.s)[d];
  float sum = 0;
  for (int64_t r = from; r < from + per && r < p.rows; ++r) {
    const int64_t i = r * p.D + d;
    const float dy = float(static_cast<const T*>(p.dy)[i]);
    sum += dy * float(static_cast<const T*>(p.x)[i]);
    if (p.dx) {
      T& dx = static_cast<T*>(p.dx)[i];
      dx = T(p.accumulate_dx ? float(dx) + dy * s : dy * s);
    }
  }
  part[blockIdx.y * p.D + d] = sum;
}
__global__ void add_slices(ScaleColumnsBwd p, const float* part) {
  const int64_t d = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (d >= p.D) return;
  float sum = 0;
  for (int s = 0; s < slices; ++s) sum += part[s * p.D + d];
  static_cast<float*>(p.ds)[d] += sum;
}

template <class F>
void with(Unary u, F&& f) {
  if (u == Unary::silu) f.template operator()<Silu>();
  if (u == Unary::softplus) f.template operator()<Softplus>();
  if (u == Unary::gelu) f.template operator()<Gelu>();
}

}  // namespace

void unary_fwd_grid_stride(const UnaryFwd& p, const Launch& l) {
  dispatch_gpu(p.dtype, [&]<class T>() {
    with(p.f, [&]<class F>() {
      unary_fwd<T, F><<<blocks_for(p.n, threads, most_blocks), threads, 0, l.stream>>>(p);
    });
  });
}
void unary_bwd_grid_stride(const UnaryBwd& p, const Launch& l) {
  dispatch_gpu(p.dtype, [&]<class T>() {
    with(p.f, [&]<class F>() {
      unary_bwd<T, F><<<blocks_for(p.n, threads, most_blocks), threads, 0, l.stream>>>(p);
    });
  });
}
void add_grid_stride(const Add& p, const Launch& l) {
  dispatch_gpu(p.dtype, [&]<class Y>() {
    dispatch_gpu(p.a_dtype, [&]<class A>() {
      dispatch_gpu(p.b_dtype, [&]<class B>() {
        add<Y, A, B><<<blocks_for(p.n, threads, most_blocks), threads, 0, l.stream>>>(p);
      });
    });
  });
}
void scale_columns_fwd_grid_stride(const ScaleColumnsFwd& p, const Launch& l) {
  dispatch_gpu(p.dtype, [&]<class T>() {
    scale_columns_fwd<T>
        <<<blocks_for(p.rows * p.D, threads, most_blocks), threads, 0, l.stream>>>(p);
  });
}
size_t scale_columns_bwd_scratch(const ScaleColumnsBwd& p) {
  return slices * p.D * sizeof(float);
}
void scale_columns_bwd_two_pass(const ScaleColumnsBwd& p, const Launch& l) {
  auto part = static_cast<float*>(l.scratch);
  dispatch_gpu(p.dtype, [&]<class T>() {
    scale_columns_bwd<T><<<dim3(blocks_for(p.D, threads), slices), threads, 0, l.stream>>>(p, part);
  });
  if (p.ds) add_slices<<<blocks_for(p.D, threads), threads, 0, l.stream>>>(p, part);
}

}  // namespace krait
