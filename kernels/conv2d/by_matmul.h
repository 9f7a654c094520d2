// The convolution as a matrix product over gathered pixels, the same for both backends:
//   cols (B high wide, n): each row what one output looks at, tap by tap, C channels each
//   wp (D, n): the weights in that order;  y = cols wp^T + b
//   dwp = dy^T cols,  dcols = dy wp,  dx = for each pixel the sum of dcols over the taps on it
// n is C k k rounded up to a multiple of 8, so that rows of bf16 start at multiples of 16 bytes, as
// matrix products want them; what is added is zero. The batch is taken in parts, so that cols need
// little memory and stay in the cache until they are used.
// Scratch: wp, dwp, cols (later dcols), then whatever the inner kernels ask for.
#pragma once

#include <algorithm>

#include "kernels/common/inner.h"
#include "kernels/conv2d/conv2d.h"
#include "kernels/matmul/matmul.h"
#include "kernels/reduce/reduce.h"

namespace krait::conv_by_matmul {

KRAIT_HD inline int64_t row_length(const ConvShape& s) {
  return (s.numbers() + 7) / 8 * 8;
}
// Where in w (D, C, k, k) the element `at` of wp (D, n) comes from; -1: it is zero.
KRAIT_HD inline int64_t weight_place(const ConvShape& s, int64_t at) {
  const int64_t n = row_length(s), d = at / n, in = at - d * n;
  const int64_t tap = in / s.C, c = in - tap * s.C;
  return in < s.numbers() ? (d * s.C + c) * s.k * s.k + tap : -1;
}

// Pictures in a part: as many as fit into so many bytes of cols, at least one; parts of like size.
constexpr int64_t part_bytes_gpu = int64_t{64} << 20, part_bytes_cpu = int64_t{2} << 20;
template <class P>
int64_t pictures_of_part(const P& p, Backend backend) {
  const int64_t one = p.shape.outputs() * row_length(p.shape) * int64_t(size_of(p.dtype));
  const int64_t limit = backend == Backend::cuda ? part_bytes_gpu : part_bytes_cpu;
  const int64_t most = std::max<int64_t>(1, limit / one), parts = (p.shape.B + most - 1) / most;
  return (p.shape.B + parts - 1) / std::max<int64_t>(1, parts);
}

inline const void* ahead(const void* p, int64_t count, DType t) {
  return p ? static_cast<const std::byte*>(p) + count * int64_t(size_of(t)) : nullptr;
}
inline void* ahead(void* p, int64_t count, DType t) {
  return p ? static_cast<std::byte*>(p) + count * int64_t(size_of(t)) : nullptr;
}
// The same work on `count` pictures from number `first` on.
inline Conv2dFwd part(Conv2dFwd p, int64_t first, int64_t count) {
  const ConvShape& s = p.shape;
  p.x = ahead(p.x, first * s.H * s.W * s.C, p.dtype);
  p.y = ahead(p.y, first * s.outputs() * s.D, p.dtype);
  p.shape.B = count;
  return p;
}
inline Conv2dBwd part(Conv2dBwd p, int64_t first, int64_t count) {
  const ConvShape& s = p.shape;
  p.x = ahead(p.x, first * s.H * s.W * s.C, p.dtype);
  p.dx = ahead(p.dx, first * s.H * s.W * s.C, p.dtype);
  p.dy = ahead(p.dy, first * s.outputs() * s.D, p.dtype);
  p.shape.B = count;
  return p;
}

inline Matmul forward(const Conv2dFwd& p, const void* cols, const void* wp) {
  const int64_t n = row_length(p.shape);
  return {.dtype = p.dtype,
          .c_dtype = p.dtype,
          .m = p.shape.B * p.shape.outputs(),
          .n = p.shape.D,
          .k = n,
          .trans_b = true,
          .allow_tf32 = p.allow_tf32,
          .a = cols,
          .b = wp,
          .c = p.y,
          .a_row = n,
          .b_row = n,
          .c_row = p.shape.D};
}
inline Matmul weight(const Conv2dBwd& p, const void* cols, void* dwp, bool add) {
  const int64_t n = row_length(p.shape);
  return {.dtype = p.dtype,
          .c_dtype = accum(p.dtype),
          .m = p.shape.D,
          .n = n,
          .k = p.shape.B * p.shape.outputs(),
          .trans_a = true,
          .accumulate = add,
          .allow_tf32 = p.allow_tf32,
          .a = p.dy,
          .b = cols,
          .c = dwp,
          .a_row = p.shape.D,
          .b_row = n,
          .c_row = n};
}
inline Matmul pixels(const Conv2dBwd& p, const void* wp, void* dcols) {
  const int64_t n = row_length(p.shape);
  return {.dtype = p.dtype,
          .c_dtype = p.dtype,
          .m = p.shape.B * p.shape.outputs(),
          .n = n,
          .k = p.shape.D,
          .allow_tf32 = p.allow_tf32,
          .a = p.dy,
          .b = wp,
          .c = dcols,
          .a_row = p.shape.D,
          .b_row = n,
          .c_row = n};
}
inline AddBias bias(const Conv2dFwd& p) {
  return {.dtype = p.dtype,
          .rows = p.shape.B * p.shape.outputs(),
          .D = p.shape.D,
          .row = p.shape.D,
          .b = p.b,
          .y = p.y};
}
inline ColumnSum bias(const Conv2dBwd& p) {
  return {.dtype = p.dtype,
          .rows = p.shape.B * p.shape.outputs(),
          .D = p.shape.D,
          .row = p.shape.D,
          .x = p.dy,
          .sum = p.db};
}

inline size_t rounded(size_t bytes) {
  return (bytes + 255) / 256 * 256;
}
// Where things lie in scratch.
struct Memory {
  size_t dwp, cols, inner;  // wp lies at 0
};
template <class P>
Memory memory(const P& p, Backend backend) {
  const int64_t n = row_length(p.shape);
  const bool backward = std::is_same_v<P, Conv2dBwd>;
  Memory m;
  m.dwp = rounded(p.shape.D * n * size_of(p.dtype));
  m.cols = m.dwp + (backward ? rounded(p.shape.D * n * size_of(accum(p.dtype))) : 0);
  m.inner =
      m.cols + rounded(pictures_of_part(p, backend) * p.shape.outputs() * n * size_of(p.dtype));
  return m;
}
inline size_t scratch(const Conv2dFwd& p, Backend backend) {
  const int64_t most = pictures_of_part(p, backend);
  size_t inner = inner_bytes(bias(p), backend);
  // The last part may be smaller, and another row of the product may take it.
  for (int64_t count : {most, p.shape.B % most})
    if (count)
      inner = std::max(inner, inner_bytes(forward(part(p, 0, count), nullptr, nullptr), backend));
  return memory(p, backend).inner + inner;
}
inline size_t scratch(const Conv2dBwd& p, Backend backend) {
  const int64_t most = pictures_of_part(p, backend);
  size_t inner = inner_bytes(bias(p), backend);
  for (int64_t count : {most, p.shape.B % most}) {
    if (!count) continue;
    const Conv2dBwd q = part(p, 0, count);
    inner = std::max({inner, inner_bytes(weight(q, nullptr, nullptr, true), backend),
                      inner_bytes(pixels(q, nullptr, nullptr), backend)});
  }
  return memory(p, backend).inner + inner;
}

// Steps: spread_weights(p, wp, launch): fills wp; gather(p, cols, launch): fills cols;
// scatter(p, dcols, launch): writes dx; collect_weights(p, dwp, launch): adds to dw.
template <class Steps>
void run_forward(const Conv2dFwd& p, const Launch& l, Steps steps) {
  const Memory m = memory(p, l.device.backend);
  std::byte* wp = static_cast<std::byte*>(l.scratch);
  steps.spread_weights(p, wp, l);
  const int64_t most = pictures_of_part(p, l.device.backend);
  for (int64_t first = 0; first < p.shape.B; first += most) {
    const Conv2dFwd q = part(p, first, std::min(most, p.shape.B - first));
    steps.gather(q, wp + m.cols, l);
    run_inner(forward(q, wp + m.cols, wp), l, wp + m.inner);
  }
  if (p.b) run_inner(bias(p), l, wp + m.inner);
}
template <class Steps>
void run_backward(const Conv2dBwd& p, const Launch& l, Steps steps) {
  const Memory m = memory(p, l.device.backend);
  std::byte* wp = static_cast<std::byte*>(l.scratch);
  if (p.dx) steps.spread_weights(p, wp, l);
  const int64_t most = pictures_of_part(p, l.device.backend);
  for (int64_t first = 0; first < p.shape.B; first += most) {
    const Conv2dBwd q = part(p, first, std::min(most, p.shape.B - first));
    if (p.dw) {
      steps.gather(q, wp + m.cols, l);
      run_inner(weight(q, wp + m.cols, wp + m.dwp, first > 0), l, wp + m.inner);
    }
    if (p.dx) {
      run_inner(pixels(q, wp, wp + m.cols), l, wp + m.inner);
      steps.scatter(q, wp + m.cols, l);
    }
  }
  if (p.dw) steps.collect_weights(p, wp + m.dwp, l);
  if (p.db) run_inner(bias(p), l, wp + m.inner);
}

}  // namespace krait::conv_by_matmul
