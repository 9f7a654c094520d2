// CPU rows: gathers what each output looks at as a row of a matrix, then a matrix product.
#include <vector>

#include "kernels/conv2d/by_matmul.h"
#include "kernels/conv2d/places.h"
#include "kernels/conv2d/rows.h"

namespace krait {
namespace {

struct Steps {
  template <class P>
  void spread_weights(const P& p, void* to, const Launch&) {
    dispatch_float(p.dtype, [&]<class T>() {
      const int64_t count = p.shape.D * conv_by_matmul::row_length(p.shape);
      for (int64_t at = 0; at < count; ++at) {
        const int64_t from = conv_by_matmul::weight_place(p.shape, at);
        static_cast<T*>(to)[at] = from < 0 ? T(0.0f) : static_cast<const T*>(p.w)[from];
      }
    });
  }
  void collect_weights(const Conv2dBwd& p, const void* dwp, const Launch&) {
    dispatch_float(p.dtype, [&]<class T>() {
      using A = accum_t<T>;
      const int64_t count = p.shape.D * conv_by_matmul::row_length(p.shape);
      for (int64_t at = 0; at < count; ++at) {
        const int64_t to = conv_by_matmul::weight_place(p.shape, at);
        if (to >= 0) static_cast<A*>(p.dw)[to] += static_cast<const A*>(dwp)[at];
      }
    });
  }
  template <class P>
  void gather(const P& p, void* cols, const Launch&) {
    dispatch_float(p.dtype, [&]<class T>() {
      const ConvShape& s = p.shape;
      const int64_t rows = s.B * s.outputs(), n = conv_by_matmul::row_length(s);
#pragma omp parallel for schedule(static)
      for (int64_t r = 0; r < rows; ++r) {
        T* to = static_cast<T*>(cols) + r * n;
        for (int64_t tap = 0; tap < s.k * s.k; ++tap, to += s.C) {
          const int64_t pixel = pixel_under(s, uint32_t(r), uint32_t(tap));
          if (pixel < 0)
            std::fill_n(to, s.C, T(0.0f));
          else
            std::copy_n(static_cast<const T*>(p.x) + pixel * s.C, s.C, to);
        }
        std::fill_n(to, n - s.numbers(), T(0.0f));
      }
    });
  }
  void scatter(const Conv2dBwd& p, const void* dcols, const Launch&) {
    dispatch_float(p.dtype, [&]<class T>() {
      using A = accum_t<T>;
      const ConvShape& s = p.shape;
      const int64_t n = conv_by_matmul::row_length(s), rows = s.B * s.H;
      const T* all = static_cast<const T*>(dcols);
#pragma omp parallel
      {
        std::vector<A> sum(s.C);
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; ++row)
          for (int64_t x = 0; x < s.W; ++x) {
            T* to = static_cast<T*>(p.dx) + (row * s.W + x) * s.C;
            for (int64_t c = 0; c < s.C; ++c) sum[c] = p.accumulate_dx ? A(to[c]) : A(0);
            const int64_t b = row / s.H, y = row - b * s.H;
            for_outputs_at(s, static_cast<int>(y), static_cast<int>(x), [&](int output, int tap) {
              const T* from = all + (b * s.outputs() + output) * n + tap * s.C;
              for (int64_t c = 0; c < s.C; ++c) sum[c] += A(from[c]);
            });
            for (int64_t c = 0; c < s.C; ++c) to[c] = T(sum[c]);
          }
      }
    });
  }
};

// Are 32 bits enough to count the outputs of a part and its pixels?
template <class P>
bool countable(const P& p) {
  const ConvShape& s = p.shape;
  return s.B * s.outputs() < int64_t{1} << 31 && s.B * s.H * s.W < int64_t{1} << 31;
}

}  // namespace

bool conv2d_fwd_gather_fits(const Conv2dFwd& p, const Device&) {
  return countable(p);
}
bool conv2d_bwd_gather_fits(const Conv2dBwd& p, const Device&) {
  return countable(p);
}
size_t conv2d_fwd_gather_blas_scratch(const Conv2dFwd& p) {
  return conv_by_matmul::scratch(p, Backend::cpu);
}
size_t conv2d_bwd_gather_blas_scratch(const Conv2dBwd& p) {
  return conv_by_matmul::scratch(p, Backend::cpu);
}
void conv2d_fwd_gather_blas(const Conv2dFwd& p, const Launch& l) {
  conv_by_matmul::run_forward(p, l, Steps{});
}
void conv2d_bwd_gather_blas(const Conv2dBwd& p, const Launch& l) {
  conv_by_matmul::run_backward(p, l, Steps{});
}

}  // namespace krait
