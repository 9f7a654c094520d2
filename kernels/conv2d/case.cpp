// Sizes at which the convolution of pictures is verified and measured.
#include "kernels/common/case.h"

#include "kernels/conv2d/conv2d.h"

namespace krait {
namespace {

struct Options {
  bool bias = true, dx = true, dw = true, add = false, small = true;
};

void add(CaseList& list, DType t, ConvShape s, Options o = {}) {
  const int64_t pixels = s.B * s.H * s.W * s.C, weights = s.D * s.numbers();
  const int64_t out = s.B * s.outputs() * s.D;
  const double bytes = double(pixels + out + weights) * size_of(t);
  const double flops = 2.0 * double(s.B * s.outputs()) * double(weights);
  // Slack 2: rows that go by a matrix product round the product before the bias is added, and dcols
  // before they are summed.
  CaseInfo info{.size = cat("B=", s.B, " ", s.H, "x", s.W, " C=", s.C, " D=", s.D, " k=", s.k,
                            " stride=", s.stride, " pad=", s.pad, o.bias ? "" : " no bias",
                            o.dw ? "" : " no dw", o.dx ? "" : " no dx", o.add ? " add" : ""),
                .dtype = t,
                .cost = {bytes, flops, true},
                .slack = t == DType::bf16 ? 2.0 : 1.0,
                .small = o.small};
  list.push_back(make_case<Conv2dFwd>(info, [=](CaseMemory& m) {
    return Conv2dFwd{.dtype = m.dtype(),
                     .shape = s,
                     .allow_tf32 = false,
                     .x = m.in("x", pixels, -1, 1),
                     .w = m.in("w", weights, -0.3, 0.3),
                     .b = o.bias ? m.in_accum("b", s.D, -1, 1) : nullptr,
                     .y = m.out("y", out)};
  }));
  info.cost = {bytes * (o.dx ? 2 : 1), flops * (o.dw + o.dx), true};
  list.push_back(make_case<Conv2dBwd>(info, [=](CaseMemory& m) {
    return Conv2dBwd{.dtype = m.dtype(),
                     .shape = s,
                     .allow_tf32 = false,
                     .accumulate_dx = o.add,
                     .x = m.in("x", pixels, -1, 1),
                     .w = m.in("w", weights, -0.3, 0.3),
                     .dy = m.in("dy", out, -1, 1),
                     .dx = !o.dx   ? nullptr
                           : o.add ? m.inout("dx", pixels, -1, 1)
                                   : m.out("dx", pixels),
                     .dw = o.dw ? m.inout_accum("dw", weights, -1, 1) : nullptr,
                     .db = o.bias ? m.inout_accum("db", s.D, -1, 1) : nullptr};
  }));
}

}  // namespace

void add_conv2d_cases(CaseList& list) {
  for (DType t : {DType::f32, DType::bf16}) {
    add(list, t, {2, 8, 8, 3, 16, 3, 1, 1}, {.dx = false});
    add(list, t, {2, 9, 7, 8, 24, 3, 2, 1});
    add(list, t, {3, 6, 6, 16, 8, 3, 2, 1}, {.add = true});
    add(list, t, {2, 5, 6, 12, 10, 3, 1, 1}, {.bias = false, .dw = false});
    add(list, t, {2, 5, 5, 5, 7, 1, 1, 0});
    add(list, t, {1, 7, 6, 4, 3, 2, 3, 0});  // pixels that no output looks at
    add(list, t, {2, 4, 4, 2, 9, 5, 1, 2}, {.add = true});
    add(list, t, {1, 1, 1, 8, 8, 3, 1, 1});                       // eight of nine taps are outside
    add(list, t, {19, 16, 16, 48, 8, 3, 1, 1}, {.bias = false});  // several parts on a CPU
    add(list, t, {512, 32, 32, 3, 64, 3, 1, 1}, {.bias = false, .dx = false, .small = false});
    add(list, t, {512, 32, 32, 64, 128, 3, 2, 1}, {.bias = false, .small = false});
    add(list, t, {512, 16, 16, 128, 128, 3, 1, 1}, {.bias = false, .small = false});
    add(list, t, {512, 16, 16, 128, 256, 3, 2, 1}, {.small = false});
  }
}

void add_conv2d_huge(CaseList& list, int64_t elements) {
  for (DType t : {DType::f32, DType::bf16})
    add_repeated(list, elements / (3 * 63 * 40) + 1, [=](CaseList& to, int64_t times) {
      add(to, t, {3 * times, 9, 7, 40, 24, 3, 1, 1});
    });
}

}  // namespace krait
