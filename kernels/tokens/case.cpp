// Sizes at which the kernels on tokens are verified and measured.
#include "kernels/common/case.h"

#include "kernels/tokens/tokens.h"

namespace krait {
namespace {

void add_place(CaseList& list, DType t, int64_t B, int64_t P, int64_t D, std::vector<int64_t> at,
               bool pos, bool add, bool small = true) {
  const int classes = static_cast<int>(at.size());
  const int64_t L = P + classes;
  const double bytes = double(B) * D * (P * size_of(t) + L * size_of(accum(t)));
  std::string size = cat("B=", B, " P=", P, " D=", D, pos ? " pos" : "", add ? " add" : "");
  for (int64_t a : at) size += cat(" class at ", a);
  at.resize(2, 0);
  const CaseInfo info{.size = size, .dtype = t, .cost = {bytes, double(B) * L * D}, .small = small};
  list.push_back(make_case<PlaceTokensFwd>(info, [=](CaseMemory& m) {
    PlaceTokensFwd p{.dtype = m.dtype(),
                     .B = B,
                     .P = P,
                     .D = D,
                     .classes = classes,
                     .at = {at[0], at[1]},
                     .cls = {},
                     .patches = m.in("patches", B * P * D, -1, 1),
                     .pos = pos ? m.in_accum("pos", L * D, -1, 1) : nullptr,
                     .y = m.out_accum("y", B * L * D)};
    for (int i = 0; i < classes; ++i) p.cls[i] = m.in_accum("cls", D, -1, 1);
    return p;
  }));
  list.push_back(make_case<PlaceTokensBwd>(info, [=](CaseMemory& m) {
    PlaceTokensBwd p{
        .dtype = m.dtype(),
        .B = B,
        .P = P,
        .D = D,
        .classes = classes,
        .at = {at[0], at[1]},
        .accumulate_dpatches = add,
        .dy = m.in_accum("dy", B * L * D, -1, 1),
        .dpatches = add ? m.inout("dpatches", B * P * D, -1, 1) : m.out("dpatches", B * P * D),
        .dcls = {},
        .dpos = pos ? m.inout_accum("dpos", L * D, -1, 1) : nullptr};
    for (int i = 0; i < classes; ++i) p.dcls[i] = m.inout_accum("dcls", D, -1, 1);
    return p;
  }));
}

void add_pools(CaseList& list, DType t, int64_t B, int64_t L, int64_t D, bool add,
               std::vector<int64_t> which, bool small = true, int64_t first = 0) {
  const int count = static_cast<int>(which.size());
  const double whole = double(B) * L * D * size_of(t);
  CaseInfo info{.size = cat("B=", B, " L=", L, " D=", D, add ? " add" : ""),
                .dtype = t,
                .cost = {2 * whole, 0},
                .small = small};
  auto target = [=](CaseMemory& m, const char* name) {
    return add ? m.inout(name, B * L * D, -1, 1) : m.out(name, B * L * D);
  };
  list.push_back(make_case<ReverseTokens>(info, [=](CaseMemory& m) {
    return ReverseTokens{m.dtype(), B, L, D, add, m.in("x", B * L * D, -1, 1), target(m, "y")};
  }));
  info.cost = {whole, double(B) * L * D};
  // Ties are met in bf16, where few numbers lie near the largest.
  list.push_back(make_case<MaxTokensFwd>(info, [=](CaseMemory& m) {
    return MaxTokensFwd{m.dtype(),
                        B,
                        L,
                        D,
                        m.in("x", B * L * D, -1, 1),
                        m.out("y", B * D),
                        static_cast<int32_t*>(m.out_i32("argmax", B * D))};
  }));
  list.push_back(make_case<MaxTokensBwd>(info, [=](CaseMemory& m) {
    return MaxTokensBwd{m.dtype(),
                        B,
                        L,
                        D,
                        add,
                        m.in("dy", B * D, -1, 1),
                        static_cast<int32_t*>(m.in_i32("argmax", B * D, static_cast<int32_t>(L))),
                        target(m, "dx")};
  }));
  if (count) info.size += cat(" of ", count, " tokens");
  if (first) info.size += cat(" from ", first);
  which.resize(MeanTokensFwd::most, 0);
  list.push_back(make_case<MeanTokensFwd>(info, [=](CaseMemory& m) {
    return MeanTokensFwd{m.dtype(),
                         B,
                         L,
                         D,
                         count,
                         {which[0], which[1], which[2], which[3]},
                         m.in("x", B * L * D, -1, 1),
                         m.out("y", B * D),
                         first};
  }));
  list.push_back(make_case<MeanTokensBwd>(info, [=](CaseMemory& m) {
    return MeanTokensBwd{m.dtype(),
                         B,
                         L,
                         D,
                         count,
                         {which[0], which[1], which[2], which[3]},
                         add,
                         m.in("dy", B * D, -1, 1),
                         target(m, "dx"),
                         first};
  }));
}

}  // namespace

void add_tokens_cases(CaseList& list) {
  for (DType t : {DType::f32, DType::bf16}) {
    add_place(list, t, 3, 1, 5, {}, true, false);
    add_place(list, t, 2, 196, 7, {98}, true, true);
    add_place(list, t, 19, 30, 33, {0, 31}, false, false);
    add_place(list, t, 2, 64, 192, {64}, true, false);
    add_place(list, t, 13, 5, 12, {0, 3}, true, false);
    add_place(list, t, 300, 9, 64, {4}, false, true);
    add_place(list, t, 512, 64, 192, {}, true, false, false);
    add_pools(list, t, 3, 1, 5, false, {});
    add_pools(list, t, 2, 31, 7, true, {15});
    add_pools(list, t, 2, 197, 33, false, {0, 196});
    add_pools(list, t, 2, 65, 192, true, {64, 0, 3, 64});
    add_pools(list, t, 5, 6, 12, true, {});
    add_pools(list, t, 33, 19, 36, false, {18});
    add_pools(list, t, 3, 17, 12, true, {}, true, 1);
    add_pools(list, t, 2, 9, 7, false, {}, true, 2);
    add_pools(list, t, 512, 64, 192, false, {}, false);
  }
}

void add_tokens_huge(CaseList& list, int64_t elements) {
  for (DType t : {DType::f32, DType::bf16})
    for (int64_t D : {33, 200})
      add_repeated(list, elements / (3 * 17 * D) + 1, [=](CaseList& to, int64_t times) {
        add_place(to, t, 3 * times, 16, D, {8}, true, false);
        add_pools(to, t, 3 * times, 17, D, false, {});
      });
}

}  // namespace krait
