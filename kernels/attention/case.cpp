// Sizes at which attention is verified and measured.
#include "kernels/common/case.h"

#include <cmath>

#include "kernels/attention/rows.h"

namespace krait {
namespace {

struct Size {
  int64_t B, L, heads, d;
  bool small = true;
  // Of queries, keys and values: 4 makes some probabilities nearly 1.
  double most = 1;
};

CaseInfo info(const Size& z, DType t, bool backward) {
  const auto scores = static_cast<double>(z.B * z.heads * z.L * z.L), d = static_cast<double>(z.d);
  const auto width = static_cast<double>(z.B * z.L * z.heads * z.d);
  // Forward qkv and y; backward qkv, y, dy and dqkv.
  return {.size = cat("B=", z.B, " L=", z.L, " heads=", z.heads, " d=", z.d,
                      z.most == 1 ? "" : " sharp"),
          .dtype = t,
          .cost = {.bytes = (backward ? 8 : 4) * width * static_cast<double>(size_of(t)),
                   .flops = (backward ? 10 : 4) * scores * d,
                   .matrix = true,
                   .exps = scores},
          // One token: the reference makes almost no error, but p = exp(s - lse) may be a rounding
          // from 1.
          .slack = z.L == 1 ? 4.0 : 1.0,
          .small = z.small};
}

void add_forward(CaseList& list, DType t, Size z, bool keeps) {
  list.push_back(make_case<AttentionFwd>(info(z, t, false), [=](CaseMemory& m) {
    const int64_t n = z.B * z.L * z.heads * z.d;
    return AttentionFwd{.dtype = m.dtype(),
                        .B = z.B,
                        .L = z.L,
                        .heads = z.heads,
                        .d = z.d,
                        .scale = 1 / std::sqrt(static_cast<double>(z.d)),
                        .qkv = m.in("qkv", 3 * n, -z.most, z.most),
                        .y = m.out("y", n),
                        .lse = keeps ? m.out_accum("lse", z.B * z.heads * z.L) : nullptr};
  }));
}

// y and lse are what the reference makes of qkv.
void add_backward(CaseList& list, DType t, Size z, bool accumulate) {
  list.push_back(make_case<AttentionBwd>(info(z, t, true), [=](CaseMemory& m) {
    const int64_t n = z.B * z.L * z.heads * z.d, rows = z.B * z.heads * z.L;
    const double scale = 1 / std::sqrt(static_cast<double>(z.d));
    const void* qkv = m.in("qkv", 3 * n, -z.most, z.most);
    auto forward = [=](CaseMemory& host, void* y, void* lse) {
      attention_fwd_reference({.dtype = host.dtype(),
                               .B = z.B,
                               .L = z.L,
                               .heads = z.heads,
                               .d = z.d,
                               .scale = scale,
                               .qkv = host.copy_of(qkv, 3 * n),
                               .y = y,
                               .lse = lse},
                              {.device = case_device(Backend::cpu)});
    };
    const void* y = m.computed(n, [&](void* to, CaseMemory& host) { forward(host, to, nullptr); });
    const void* lse = m.computed_accum(
        rows, [&](void* to, CaseMemory& host) { forward(host, host.out("", n), to); });
    return AttentionBwd{.dtype = m.dtype(),
                        .B = z.B,
                        .L = z.L,
                        .heads = z.heads,
                        .d = z.d,
                        .scale = scale,
                        .accumulate = accumulate,
                        .qkv = qkv,
                        .y = y,
                        .lse = lse,
                        .dy = m.in("dy", n, -1, 1),
                        .dqkv = accumulate ? m.inout("dqkv", 3 * n, -1, 1) : m.out("dqkv", 3 * n)};
  }));
}

}  // namespace

void add_attention_size(CaseList& list, UserSizes& sizes) {
  const Size z{.B = sizes.take("B", 128, 1 << 16),
               .L = sizes.take("L", 197, 1 << 14),
               .heads = sizes.take("heads", 3, 1 << 8),
               .d = sizes.take("d", 64, 256),
               .small = false};
  for (DType t : {DType::f32, DType::bf16}) {
    add_forward(list, t, z, true);
    add_backward(list, t, z, false);
  }
}

void add_attention_cases(CaseList& list) {
  const Size sizes[] = {
      {.B = 1, .L = 1, .heads = 1, .d = 1},
      {.B = 2, .L = 7, .heads = 3, .d = 5},
      {.B = 2, .L = 65, .heads = 2, .d = 16, .most = 4},
      {.B = 1, .L = 130, .heads = 1, .d = 32},
      {.B = 2, .L = 50, .heads = 3, .d = 64},
      {.B = 1, .L = 70, .heads = 2, .d = 64, .most = 4},
      // One token, a row more than 16, and more tokens than a block has.
      {.B = 2, .L = 1, .heads = 3, .d = 64},
      {.B = 3, .L = 17, .heads = 2, .d = 32},
      {.B = 1, .L = 197, .heads = 2, .d = 64},
      {.B = 1, .L = 33, .heads = 1, .d = 100},
      {.B = 1, .L = 20, .heads = 1, .d = 256},
      {.B = 128, .L = 197, .heads = 3, .d = 64, .small = false},
      {.B = 512, .L = 65, .heads = 3, .d = 64, .small = false},
  };
  for (DType t : {DType::f32, DType::bf16})
    for (const Size& z : sizes) {
      add_forward(list, t, z, z.L != 7 && z.L != 17);
      add_backward(list, t, z, z.L == 50 || z.L == 7 || z.L == 17);
    }
}

void add_attention_huge(CaseList& list, int64_t elements) {
  for (DType t : {DType::f32, DType::bf16}) {
    const Size once{.B = 3, .L = 50, .heads = 3, .d = 64};
    add_repeated(list, elements / (3 * 50 * 3 * 64) + 1, [=](CaseList& to, int64_t times) {
      Size z = once;
      z.B *= times;
      add_forward(to, t, z, true);
      add_backward(to, t, z, false);
    });
  }
}

}  // namespace krait
