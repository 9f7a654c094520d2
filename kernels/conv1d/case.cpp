// Sizes at which the depthwise convolution is verified and measured.
#include "kernels/common/case.h"

#include "kernels/conv1d/conv1d.h"

namespace krait {
namespace {

struct Size {
  int64_t B, L, E;
  int K;
  int sides;
  bool silu = true, bias = true, add = false, small = true;
  int64_t beside = 0;          // columns that stand beside those of x
  bool reverse_first = false;  // the first side is the reversed one
  bool same = false;           // both sides in one direction
  bool no_dy = false;          // nothing used the last side
};

void add(CaseList& list, DType t, const Size& z) {
  const int64_t x_row = z.E + z.beside, tokens = z.B * z.L;
  const double n = double(tokens) * z.E;
  CaseInfo info{.size = cat("B=", z.B, " L=", z.L, " E=", z.E, " K=", z.K, " sides=", z.sides,
                            z.silu ? "" : " linear", z.bias ? "" : " no bias",
                            z.beside ? cat(" beside ", z.beside) : "", z.add ? " add" : "",
                            z.reverse_first ? " reversed" : "", z.same ? " same direction" : "",
                            z.no_dy ? " no dy" : ""),
                .dtype = t,
                .cost = {n * size_of(t) * (1 + z.sides), n * z.sides * (2.0 * z.K + 6)},
                .small = z.small};
  // SiLU and its slope: an exponential and a reciprocal. Backward computes q again.
  info.cost.exps = z.silu ? n * z.sides * 2 : 0;
  auto reverse = [z](int side) { return z.reverse_first != (side == 1 && !z.same); };
  list.push_back(make_case<Conv1dFwd>(info, [=](CaseMemory& m) {
    Conv1dFwd p{.dtype = m.dtype(),
                .B = z.B,
                .L = z.L,
                .E = z.E,
                .K = z.K,
                .sides = z.sides,
                .silu = z.silu,
                .x_row = x_row,
                .x = m.in("x", tokens * x_row, -2, 2),
                .side = {}};
    for (int s = 0; s < z.sides; ++s)
      p.side[s] = {.reverse = reverse(s),
                   .w = m.in_accum("w", z.E * z.K, -0.5, 0.5),
                   .b = z.bias ? m.in_accum("b", z.E, -0.5, 0.5) : nullptr,
                   .y = m.out("y", tokens * z.E)};
    return p;
  }));
  info.cost.bytes = n * size_of(t) * (2 + z.sides + (z.add ? 1 : 0));
  info.cost.flops = n * z.sides * (6.0 * z.K + 12);
  list.push_back(make_case<Conv1dBwd>(info, [=](CaseMemory& m) {
    // Strided: dx is columns of something wider too. The columns between are not written, so all of
    // it starts with numbers.
    const int64_t dx_row = z.E + z.beside;
    Conv1dBwd p{.dtype = m.dtype(),
                .B = z.B,
                .L = z.L,
                .E = z.E,
                .K = z.K,
                .sides = z.sides,
                .silu = z.silu,
                .accumulate_dx = z.add,
                .x_row = x_row,
                .dx_row = dx_row,
                .x = m.in("x", tokens * x_row, -2, 2),
                .dx = z.add || z.beside ? m.inout("dx", tokens * dx_row, -1, 1)
                                        : m.out("dx", tokens * dx_row),
                .side = {}};
    for (int s = 0; s < z.sides; ++s)
      p.side[s] = {.reverse = reverse(s),
                   .w = m.in_accum("w", z.E * z.K, -0.5, 0.5),
                   .b = z.bias ? m.in_accum("b", z.E, -0.5, 0.5) : nullptr,
                   .dy = z.no_dy && s == z.sides - 1 ? nullptr : m.in("dy", tokens * z.E, -1, 1),
                   .dw = m.inout_accum("dw", z.E * z.K, -1, 1),
                   .db = z.bias ? m.inout_accum("db", z.E, -1, 1) : nullptr};
    return p;
  }));
}

}  // namespace

void add_conv1d_size(CaseList& list, UserSizes& sizes) {
  const Size s{.B = sizes.take("B", 512, 1 << 16),
               .L = sizes.take("L", 64, 1 << 16),
               .E = sizes.take("E", 384, 1 << 14),
               .K = static_cast<int>(sizes.take("K", 4, 8)),
               .sides = static_cast<int>(sizes.take("sides", 2, 2)),
               .small = false};
  for (DType t : {DType::f32, DType::bf16}) add(list, t, s);
}

void add_conv1d_cases(CaseList& list) {
  for (DType t : {DType::f32, DType::bf16}) {
    add(list, t, {.B = 3, .L = 1, .E = 5, .K = 4, .sides = 2});
    add(list, t, {.B = 2, .L = 3, .E = 6, .K = 8, .sides = 2});
    add(list, t, {.B = 2, .L = 31, .E = 7, .K = 2, .sides = 1, .bias = false});
    add(list, t, {.B = 2, .L = 65, .E = 96, .K = 4, .sides = 2, .add = true});
    add(list, t, {.B = 1, .L = 197, .E = 34, .K = 3, .sides = 2, .reverse_first = true});
    add(list, t, {.B = 5, .L = 16, .E = 130, .K = 4, .sides = 2, .beside = 130});
    add(list, t,
        {.B = 3,
         .L = 20,
         .E = 33,
         .K = 5,
         .sides = 1,
         .silu = false,
         .add = true,
         .beside = 33,
         .reverse_first = true});
    add(list, t, {.B = 2, .L = 17, .E = 10, .K = 6, .sides = 2, .same = true});
    add(list, t, {.B = 2, .L = 33, .E = 12, .K = 7, .sides = 2, .no_dy = true});
    add(list, t, {.B = 2, .L = 9, .E = 12, .K = 4, .sides = 1, .no_dy = true});
    add(list, t, {.B = 70, .L = 11, .E = 6, .K = 4, .sides = 2});
    // For rows that want channels by the 8 and walk many tokens: images cut anywhere, and shorter
    // than what is copied ahead; the last columns half empty.
    add(list, t, {.B = 9, .L = 64, .E = 136, .K = 4, .sides = 2, .beside = 136});
    add(list, t, {.B = 60, .L = 3, .E = 72, .K = 3, .sides = 2, .add = true});
    add(list, t, {.B = 3, .L = 133, .E = 64, .K = 2, .sides = 2, .bias = false, .beside = 8});
    add(list, t, {.B = 2, .L = 65, .E = 200, .K = 4, .sides = 1});
    add(list, t,
        {.B = 2, .L = 50, .E = 72, .K = 4, .sides = 1, .add = true, .reverse_first = true});
    add(list, t, {.B = 4, .L = 33, .E = 64, .K = 4, .sides = 2, .no_dy = true});
    for (int sides : {1, 2})
      add(list, t, {.B = 512, .L = 64, .E = 384, .K = 4, .sides = sides, .small = false});
    // x as the model has it: the first half of the columns of in_proj's result.
    add(list, t, {.B = 128, .L = 197, .E = 384, .K = 4, .sides = 2, .small = false, .beside = 384});
  }
}

void add_conv1d_huge(CaseList& list, int64_t elements) {
  for (DType t : {DType::f32, DType::bf16})
    for (int64_t E : {33, 200})
      add_repeated(list, elements / (3 * 65 * E) + 1, [=](CaseList& to, int64_t times) {
        add(to, t, {.B = 3 * times, .L = 65, .E = E, .K = 4, .sides = 2});
      });
}

}  // namespace krait
