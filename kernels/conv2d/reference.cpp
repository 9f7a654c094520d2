// The definition of the convolution of pictures: plain loops.
#include <vector>

#include "kernels/conv2d/rows.h"

namespace krait {
namespace {

// Calls f(output, pixel, i, j) for every output of a picture and every pixel under its taps that is
// not outside: indices into (B, high, wide) and (B, H, W), and the tap.
template <class F>
void for_pairs(const ConvShape& s, F&& f) {
  for (int64_t b = 0; b < s.B; ++b)
    for (int64_t oy = 0; oy < s.high(); ++oy)
      for (int64_t ox = 0; ox < s.wide(); ++ox)
        for (int64_t i = 0; i < s.k; ++i)
          for (int64_t j = 0; j < s.k; ++j) {
            const int64_t y = oy * s.stride - s.pad + i, x = ox * s.stride - s.pad + j;
            if (y < 0 || y >= s.H || x < 0 || x >= s.W) continue;
            f((b * s.high() + oy) * s.wide() + ox, (b * s.H + y) * s.W + x, i, j);
          }
}

}  // namespace

void conv2d_fwd_reference(const Conv2dFwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    const ConvShape& s = p.shape;
    const T *x = static_cast<const T*>(p.x), *w = static_cast<const T*>(p.w);
    std::vector<A> sums(s.B * s.outputs() * s.D);
    for (size_t at = 0; at < sums.size(); ++at)
      sums[at] = p.b ? static_cast<const A*>(p.b)[at % s.D] : A(0);
    for_pairs(s, [&](int64_t output, int64_t pixel, int64_t i, int64_t j) {
      for (int64_t d = 0; d < s.D; ++d)
        for (int64_t c = 0; c < s.C; ++c)
          sums[output * s.D + d] +=
              A(w[((d * s.C + c) * s.k + i) * s.k + j]) * A(x[pixel * s.C + c]);
    });
    for (size_t at = 0; at < sums.size(); ++at) static_cast<T*>(p.y)[at] = T(sums[at]);
  });
}

void conv2d_bwd_reference(const Conv2dBwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    const ConvShape& s = p.shape;
    const T *x = static_cast<const T*>(p.x), *w = static_cast<const T*>(p.w);
    const T* dy = static_cast<const T*>(p.dy);
    std::vector<A> dx(p.dx ? s.B * s.H * s.W * s.C : 0);
    if (p.db)
      for (int64_t at = 0; at < s.B * s.outputs() * s.D; ++at)
        static_cast<A*>(p.db)[at % s.D] += A(dy[at]);
    for_pairs(s, [&](int64_t output, int64_t pixel, int64_t i, int64_t j) {
      for (int64_t d = 0; d < s.D; ++d)
        for (int64_t c = 0; c < s.C; ++c) {
          const int64_t at = ((d * s.C + c) * s.k + i) * s.k + j;
          const A g = A(dy[output * s.D + d]);
          if (p.dw) static_cast<A*>(p.dw)[at] += g * A(x[pixel * s.C + c]);
          if (p.dx) dx[pixel * s.C + c] += g * A(w[at]);
        }
    });
    for (size_t at = 0; at < dx.size(); ++at) {
      T& to = static_cast<T*>(p.dx)[at];
      to = T(p.accumulate_dx ? A(to) + dx[at] : dx[at]);
    }
  });
}

}  // namespace krait
