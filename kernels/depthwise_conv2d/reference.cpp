// The definition of the depthwise convolution over a grid: plain loops.
#include <vector>

#include "kernels/depthwise_conv2d/rows.h"
#include "kernels/elementwise/elementwise.h"

namespace krait {
namespace {

// Calls f(t, tap) for every token t under the taps of token (y, x) that is inside the grid.
template <class F>
void for_taps(int64_t H, int64_t W, int64_t y, int64_t x, F&& f) {
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) {
      const int64_t r = y + i - 1, c = x + j - 1;
      if (0 <= r && r < H && 0 <= c && c < W) f(r * W + c, i * 3 + j);
    }
}

// q of one token and channel. image: the first token of its image.
template <class T, class A, class P>
A q_at(const P& p, const T* image, int64_t y, int64_t x, int64_t e) {
  A q = p.b ? static_cast<const A*>(p.b)[e] : A(0);
  for_taps(p.H, p.W, y, x, [&](int64_t t, int tap) {
    q += static_cast<const A*>(p.w)[e * 9 + tap] * A(image[t * p.x_row + e]);
  });
  return q;
}

}  // namespace

void depthwise_conv2d_fwd_reference(const DepthwiseConv2dFwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    const int64_t L = p.H * p.W;
    for (int64_t b = 0; b < p.B; ++b)
      for (int64_t t = 0; t < L; ++t)
        for (int64_t e = 0; e < p.E; ++e) {
          const T* image = static_cast<const T*>(p.x) + b * L * p.x_row;
          const A q = q_at<T, A>(p, image, t / p.W, t % p.W, e);
          static_cast<T*>(p.y)[(b * L + t) * p.E + e] = T(p.silu ? Silu::value(q) : q);
        }
  });
}

void depthwise_conv2d_bwd_reference(const DepthwiseConv2dBwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    const int64_t L = p.H * p.W;
    std::vector<A> dx(L);  // of one image and channel
    for (int64_t b = 0; b < p.B; ++b)
      for (int64_t e = 0; e < p.E; ++e) {
        const T* image = static_cast<const T*>(p.x) + b * L * p.x_row;
        dx.assign(L, A(0));
        for (int64_t t = 0; t < L; ++t) {
          A dq = A(static_cast<const T*>(p.dy)[(b * L + t) * p.E + e]);
          if (p.silu) dq *= Silu::slope(q_at<T, A>(p, image, t / p.W, t % p.W, e));
          for_taps(p.H, p.W, t / p.W, t % p.W, [&](int64_t from, int tap) {
            dx[from] += static_cast<const A*>(p.w)[e * 9 + tap] * dq;
            if (p.dw) static_cast<A*>(p.dw)[e * 9 + tap] += dq * A(image[from * p.x_row + e]);
          });
          if (p.db) static_cast<A*>(p.db)[e] += dq;
        }
        if (!p.dx) continue;
        for (int64_t t = 0; t < L; ++t) {
          T& to = static_cast<T*>(p.dx)[(b * L + t) * p.dx_row + e];
          to = T(p.accumulate_dx ? A(to) + dx[t] : dx[t]);
        }
      }
  });
}

}  // namespace krait
