// Sizes at which the depthwise convolution over a grid is verified and measured.
#include "kernels/common/case.h"

#include "kernels/depthwise_conv2d/depthwise_conv2d.h"

namespace krait {
namespace {

struct Size {
  int64_t B, H, W, E;
  bool silu = true, bias = true, add = false, dx = true, small = true;
  int64_t beside = 0;  // columns that stand beside those of x
};

void add(CaseList& list, DType t, const Size& z) {
  const int64_t row = z.E + z.beside, tokens = z.B * z.H * z.W;
  const double n = double(tokens) * z.E;
  CaseInfo info{.size = cat("B=", z.B, " ", z.H, "x", z.W, " E=", z.E, z.silu ? "" : " linear",
                            z.bias ? "" : " no bias", z.beside ? cat(" beside ", z.beside) : "",
                            z.dx ? "" : " no dx", z.add ? " add" : ""),
                .dtype = t,
                .cost = {n * size_of(t) * 2, n * (18 + 6)},
                .small = z.small};
  info.cost.exps = z.silu ? n * 2 : 0;
  list.push_back(make_case<DepthwiseConv2dFwd>(info, [=](CaseMemory& m) {
    return DepthwiseConv2dFwd{.dtype = m.dtype(),
                              .B = z.B,
                              .H = z.H,
                              .W = z.W,
                              .E = z.E,
                              .silu = z.silu,
                              .x_row = row,
                              .x = m.in("x", tokens * row, -2, 2),
                              .w = m.in_accum("w", z.E * 9, -0.5, 0.5),
                              .b = z.bias ? m.in_accum("b", z.E, -0.5, 0.5) : nullptr,
                              .y = m.out("y", tokens * z.E)};
  }));
  info.cost.bytes = n * size_of(t) * (3 + (z.add ? 1 : 0));
  info.cost.flops = n * (3 * 18 + 12);
  list.push_back(make_case<DepthwiseConv2dBwd>(info, [=](CaseMemory& m) {
    // The columns beside dx are not written, so all of it starts with numbers.
    return DepthwiseConv2dBwd{.dtype = m.dtype(),
                              .B = z.B,
                              .H = z.H,
                              .W = z.W,
                              .E = z.E,
                              .silu = z.silu,
                              .accumulate_dx = z.add,
                              .x_row = row,
                              .dx_row = row,
                              .x = m.in("x", tokens * row, -2, 2),
                              .w = m.in_accum("w", z.E * 9, -0.5, 0.5),
                              .b = z.bias ? m.in_accum("b", z.E, -0.5, 0.5) : nullptr,
                              .dy = m.in("dy", tokens * z.E, -1, 1),
                              .dx = !z.dx               ? nullptr
                                    : z.add || z.beside ? m.inout("dx", tokens * row, -1, 1)
                                                        : m.out("dx", tokens * row),
                              .dw = m.inout_accum("dw", z.E * 9, -1, 1),
                              .db = z.bias ? m.inout_accum("db", z.E, -1, 1) : nullptr};
  }));
}

}  // namespace

void add_depthwise_conv2d_cases(CaseList& list) {
  for (DType t : {DType::f32, DType::bf16}) {
    add(list, t, {.B = 40, .H = 1, .W = 1, .E = 37});
    add(list, t, {.B = 2, .H = 2, .W = 9, .E = 34, .bias = false});
    add(list, t, {.B = 2, .H = 8, .W = 8, .E = 96, .add = true});
    add(list, t, {.B = 3, .H = 7, .W = 4, .E = 72, .beside = 72});
    add(list, t, {.B = 2, .H = 5, .W = 6, .E = 33, .silu = false, .add = true, .beside = 7});
    add(list, t, {.B = 2, .H = 4, .W = 5, .E = 64, .dx = false});
    add(list, t, {.B = 97, .H = 3, .W = 3, .E = 6});
    add(list, t, {.B = 613, .H = 3, .W = 5, .E = 24, .beside = 8});  // several images a block
    add(list, t, {.B = 1, .H = 31, .W = 31, .E = 66});               // several strips on a GPU
    add(list, t, {.B = 1, .H = 3, .W = 120, .E = 4});                // too wide for pairs there
    add(list, t, {.B = 512, .H = 8, .W = 8, .E = 384, .small = false, .beside = 384});
    add(list, t, {.B = 512, .H = 16, .W = 16, .E = 384, .small = false, .beside = 384});
    add(list, t, {.B = 128, .H = 14, .W = 14, .E = 384, .small = false, .beside = 384});
  }
}

void add_depthwise_conv2d_huge(CaseList& list, int64_t elements) {
  for (DType t : {DType::f32, DType::bf16})
    add_repeated(list, elements / (3 * 63 * 200) + 1, [=](CaseList& to, int64_t times) {
      add(to, t, {.B = 3 * times, .H = 9, .W = 7, .E = 200});
    });
}

}  // namespace krait
