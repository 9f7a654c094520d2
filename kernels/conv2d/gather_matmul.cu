// GPU rows: gathers what each output looks at as a row of a matrix, then a matrix product.
#include "kernels/common/cuda.h"
#include "kernels/common/device/dispatch.cuh"
#include "kernels/common/device/quad.cuh"
#include "kernels/conv2d/by_matmul.h"
#include "kernels/conv2d/places.h"
#include "kernels/conv2d/rows.h"

namespace krait {
namespace {

constexpr int threads = 256;
constexpr int64_t most_blocks = 8192;

template <class T>
__global__ void spread(ConvShape s, int64_t count, const T* w, T* wp) {
  KRAIT_GRID_STRIDE(at, count) {
    const int64_t from = conv_by_matmul::weight_place(s, at);
    wp[at] = from < 0 ? T(0.0f) : w[from];
  }
}
__global__ void collect(ConvShape s, int64_t count, const float* dwp, float* dw) {
  KRAIT_GRID_STRIDE(at, count) {
    const int64_t to = conv_by_matmul::weight_place(s, at);
    if (to >= 0) dw[to] += dwp[at];
  }
}

// A thread owns every (grid size)-th word of cols: 16 bytes of one pixel's channels, or one
// element. words: of a pixel; row: of a row of cols; count: of cols, below 2^31.
template <class Word>
__global__ void gather_pixels(ConvShape s, uint32_t words, uint32_t row, int64_t count,
                              const Word* x, Word* cols) {
  const uint32_t taps = static_cast<uint32_t>(s.k * s.k);
  KRAIT_GRID_STRIDE(i, count) {
    const uint32_t at = static_cast<uint32_t>(i), r = at / row, in = at - r * row;
    const uint32_t tap = in / words;
    const int64_t pixel = tap < taps ? pixel_under(s, r, tap) : -1;
    cols[at] = pixel < 0 ? Word{} : x[pixel * words + (in - tap * words)];
  }
}

// A thread owns V channels of every (grid size)-th pixel of dx, and adds up the taps on it. count:
// of such groups of channels, below 2^31.
template <class T, int V>
__global__ void scatter_pixels(Conv2dBwd p, int64_t count, const T* dcols) {
  const ConvShape& s = p.shape;
  const int64_t n = conv_by_matmul::row_length(s), outputs = s.outputs();
  const uint32_t groups = static_cast<uint32_t>(s.C / V), W = uint32_t(s.W), H = uint32_t(s.H);
  KRAIT_GRID_STRIDE(i, count) {
    const uint32_t at = static_cast<uint32_t>(i), pixel = at / groups,
                   c = (at - pixel * groups) * V;
    const uint32_t line = pixel / W, x = pixel - line * W, b = line / H, y = line - b * H;
    const T* from = dcols + b * outputs * n + c;
    T* to = static_cast<T*>(p.dx) + int64_t{pixel} * s.C + c;
    if constexpr (V == 4) {
      float4 sum = p.accumulate_dx ? unpack(load_quad(to)) : float4{0, 0, 0, 0};
      for_outputs_at(s, static_cast<int>(y), static_cast<int>(x), [&](int output, int tap) {
        const float4 v = unpack(load_quad(from + output * n + tap * s.C));
        sum = {sum.x + v.x, sum.y + v.y, sum.z + v.z, sum.w + v.w};
      });
      store_quad(to, sum);
    } else {
      float sum = p.accumulate_dx ? float(*to) : 0.0f;
      for_outputs_at(s, static_cast<int>(y), static_cast<int>(x),
                     [&](int output, int tap) { sum += float(from[output * n + tap * s.C]); });
      *to = T(sum);
    }
  }
}

}  // namespace

void conv2d_spread_weights(DType dtype, const ConvShape& shape, const void* w, void* wp,
                           Stream stream) {
  const int64_t count = shape.D * conv_by_matmul::row_length(shape);
  dispatch_gpu(dtype, [&]<class T>() {
    spread<T><<<blocks_for(count, threads, most_blocks), threads, 0, stream>>>(
        shape, count, static_cast<const T*>(w), static_cast<T*>(wp));
  });
}

namespace {

struct Steps {
  template <class P>
  void spread_weights(const P& p, void* wp, const Launch& l) {
    conv2d_spread_weights(p.dtype, p.shape, p.w, wp, l.stream);
  }
  void collect_weights(const Conv2dBwd& p, const void* dwp, const Launch& l) {
    const int64_t count = p.shape.D * conv_by_matmul::row_length(p.shape);
    collect<<<blocks_for(count, threads, most_blocks), threads, 0, l.stream>>>(
        p.shape, count, static_cast<const float*>(dwp), static_cast<float*>(p.dw));
  }
  template <class P>
  void gather(const P& p, void* cols, const Launch& l) {
    const ConvShape& s = p.shape;
    const int64_t rows = s.B * s.outputs(), n = conv_by_matmul::row_length(s);
    dispatch_gpu(p.dtype, [&]<class T>() {
      auto run = [&]<class Word>(int64_t unit) {  // elements in a word
        const int64_t count = rows * (n / unit);
        gather_pixels<Word><<<blocks_for(count, threads, most_blocks), threads, 0, l.stream>>>(
            s, uint32_t(s.C / unit), uint32_t(n / unit), count, static_cast<const Word*>(p.x),
            static_cast<Word*>(cols));
      };
      constexpr int64_t unit = 16 / sizeof(T);
      if (s.C % unit == 0 && aligned_for_quads(p.x))
        run.template operator()<uint4>(unit);
      else
        run.template operator()<T>(1);
    });
  }
  void scatter(const Conv2dBwd& p, const void* dcols, const Launch& l) {
    const ConvShape& s = p.shape;
    const int64_t count = s.B * s.H * s.W * s.C;
    const bool quads = s.C % 4 == 0 && aligned_for_quads(p.dx);
    dispatch_gpu(p.dtype, [&]<class T>() {
      const T* from = static_cast<const T*>(dcols);
      if (quads)
        scatter_pixels<T, 4><<<blocks_for(count / 4, threads, most_blocks), threads, 0, l.stream>>>(
            p, count / 4, from);
      else
        scatter_pixels<T, 1>
            <<<blocks_for(count, threads, most_blocks), threads, 0, l.stream>>>(p, count, from);
    });
  }
};

// The kernels count the words of a part in 32 bits.
template <class P>
bool fits(const P& p) {
  const ConvShape& s = p.shape;
  const int64_t B = conv_by_matmul::pictures_of_part(p, Backend::cuda), most = int64_t{1} << 31;
  return p.dtype != DType::f64 && B * s.outputs() * conv_by_matmul::row_length(s) < most &&
         B * s.H * s.W * s.C < most;
}

}  // namespace

bool conv2d_fwd_gather_matmul_supports(const Conv2dFwd& p, const Device&) {
  return fits(p);
}
bool conv2d_bwd_gather_matmul_supports(const Conv2dBwd& p, const Device&) {
  return fits(p);
}
size_t conv2d_fwd_gather_matmul_scratch(const Conv2dFwd& p) {
  return conv_by_matmul::scratch(p, Backend::cuda);
}
size_t conv2d_bwd_gather_matmul_scratch(const Conv2dBwd& p) {
  return conv_by_matmul::scratch(p, Backend::cuda);
}
void conv2d_fwd_gather_matmul(const Conv2dFwd& p, const Launch& l) {
  conv_by_matmul::run_forward(p, l, Steps{});
}
void conv2d_bwd_gather_matmul(const Conv2dBwd& p, const Launch& l) {
  conv_by_matmul::run_backward(p, l, Steps{});
}

}  // namespace krait
