// Sizes at which the patch embedding is verified and measured.
#include "kernels/common/case.h"

#include "kernels/patch_embed/patch_embed.h"

namespace krait {
namespace {

struct Options {
  bool bias = true, dimages = true, dw = true, add = false, small = true;
};

void add(CaseList& list, DType t, int64_t B, int64_t D, PatchGrid g, Options o = {}) {
  const int64_t pixels = B * g.C * g.H * g.W, weights = D * g.numbers();
  const int64_t out = B * g.patches() * D;
  const double bytes = double(pixels + out + weights) * size_of(t);
  const double flops = 2.0 * B * g.patches() * g.numbers() * D;
  // Slack 2: bf16 rows that go by a matrix product round the product before the bias is added, and
  // dcols before they are summed.
  CaseInfo info{.size = cat("B=", B, " ", g.C, "x", g.H, "x", g.W, " D=", D, " p=", g.p,
                            " stride=", g.stride, o.bias ? "" : " no bias", o.dw ? "" : " no dw",
                            o.dimages ? "" : " no dimages", o.add ? " add" : ""),
                .dtype = t,
                .cost = {bytes, flops, true},
                .slack = t == DType::bf16 ? 2.0 : 1.0,
                .small = o.small};
  list.push_back(make_case<PatchEmbedFwd>(info, [=](CaseMemory& m) {
    return PatchEmbedFwd{.dtype = m.dtype(),
                         .B = B,
                         .D = D,
                         .grid = g,
                         .allow_tf32 = false,
                         .images = m.in("images", pixels, -1, 1),
                         .w = m.in("w", weights, -0.3, 0.3),
                         .b = o.bias ? m.in_accum("b", D, -1, 1) : nullptr,
                         .y = m.out("y", out)};
  }));
  info.cost = {bytes * (o.dimages ? 2 : 1), flops * (o.dw + o.dimages), true};
  list.push_back(make_case<PatchEmbedBwd>(info, [=](CaseMemory& m) {
    return PatchEmbedBwd{.dtype = m.dtype(),
                         .B = B,
                         .D = D,
                         .grid = g,
                         .allow_tf32 = false,
                         .accumulate_dimages = o.add,
                         .images = m.in("images", pixels, -1, 1),
                         .w = m.in("w", weights, -0.3, 0.3),
                         .dy = m.in("dy", out, -1, 1),
                         .dimages = !o.dimages ? nullptr
                                    : o.add    ? m.inout("dimages", pixels, -1, 1)
                                               : m.out("dimages", pixels),
                         .dw = o.dw ? m.inout_accum("dw", weights, -1, 1) : nullptr,
                         .db = o.bias ? m.inout_accum("db", D, -1, 1) : nullptr};
  }));
}

}  // namespace

void add_patch_embed_cases(CaseList& list) {
  for (DType t : {DType::f32, DType::bf16}) {
    add(list, t, 3, 7, {1, 5, 5, 5, 5});  // one patch
    add(list, t, 2, 24, {3, 32, 32, 4, 4}, {.dimages = false});
    add(list, t, 2, 33, {3, 16, 16, 4, 2}, {.add = true});
    add(list, t, 2, 16, {3, 13, 11, 3, 1}, {.bias = false});
    add(list, t, 2, 16, {2, 13, 12, 4, 3}, {.dw = false});
    add(list, t, 2, 10, {2, 14, 9, 2, 3});  // pixels between the patches are not looked at
    add(list, t, 512, 192, {3, 32, 32, 4, 4}, {.dimages = false, .small = false});
    add(list, t, 128, 192, {3, 32, 32, 4, 2}, {.dimages = false, .small = false});
  }
}

void add_patch_embed_huge(CaseList& list, int64_t elements) {
  for (DType t : {DType::f32, DType::bf16})
    add_repeated(list, elements / (3 * 64 * 200) + 1, [=](CaseList& to, int64_t times) {
      add(to, t, 3 * times, 200, {3, 32, 32, 4, 4}, {.dimages = false});
    });
}

}  // namespace krait
