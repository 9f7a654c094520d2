// Sizes at which add_norm is verified and measured.
#include "kernels/common/case.h"

#include "kernels/norm/norm.h"

namespace krait {
namespace {

// Which of the optional parts a case has.
struct Parts {
  const char* what;
  bool x = true, x_accum = false, residual = true, bias = true;
  int64_t L = 0, P = 0;  // rotated: tokens of an image, rows of the tables
};
Rotation rotation(CaseMemory& m, int64_t L, int64_t P, int64_t D) {
  if (!L) return {};
  return {L, P, m.in_accum("cos", P * D, -1, 1), m.in_accum("sin", P * D, -1, 1)};
}
std::string name_of_case(NormKind kind, int64_t rows, int64_t D, const char* what, int64_t L,
                         int64_t P) {
  return cat(kind == NormKind::rms ? "rms" : "layer", " rows=", rows, " D=", D, what,
             L ? cat(" rotated L=", L, " P=", P) : "");
}
void add_fwd(CaseList& list, DType t, NormKind kind, int64_t rows, int64_t D, Parts has,
             bool small = true) {
  const double n = static_cast<double>(rows * D), wide = size_of(accum(t));
  const double x = has.x ? size_of(has.x_accum ? accum(t) : t) : 0;
  CaseInfo info{.size = name_of_case(kind, rows, D, has.what, has.L, has.P),
                .dtype = t,
                // Slack 2 for the shortest rows: rsqrtf is good to 2 units in the last place, and
                // there is no sum whose rounding would hide it.
                .slack = D < 8 ? 2.0 : 1.0,
                .small = small};
  const bool writes_sum = has.x || has.L;
  info.cost = {n * (x + (has.residual ? wide : 0) + (writes_sum ? wide : 0) + size_of(t)),
               (has.L ? 9 : 6) * n};
  list.push_back(make_case<AddNormFwd>(info, [=](CaseMemory& m) {
    AddNormFwd p{.dtype = m.dtype(),
                 .x_dtype = has.x_accum ? m.accum_dtype() : m.dtype(),
                 .kind = kind,
                 .rows = rows,
                 .D = D,
                 .eps = 1e-5,
                 .rotation = rotation(m, has.L, has.P, D)};
    if (has.x) p.x = has.x_accum ? m.in_accum("x", rows * D, -1, 2) : m.in("x", rows * D, -1, 2);
    if (has.residual) p.residual = m.in_accum("residual", rows * D, -2, 2);
    p.w = m.in_accum("w", D, 0.5, 1.5);
    if (has.bias) p.b = m.in_accum("b", D, -1, 1);
    if (writes_sum) p.residual_out = m.out_accum("residual_out", rows * D);
    p.y = m.out("y", rows * D);
    if (kind == NormKind::layer) p.mean = m.out_accum("mean", rows);
    p.rstd = m.out_accum("rstd", rows);
    return p;
  }));
}

struct Wanted {
  const char* what;
  bool dy = true, up = true, dx = true, dx_accum = false, dresidual = true, sums = true;
  bool add = false;
  int64_t L = 0, P = 0;  // rotated: tokens of an image, rows of the tables
};
void add_bwd(CaseList& list, DType t, NormKind kind, int64_t rows, int64_t D, Wanted has,
             bool small = true) {
  const double n = static_cast<double>(rows * D), wide = size_of(accum(t));
  const int writes = has.add ? 2 : 1;
  CaseInfo info{.size = name_of_case(kind, rows, D, has.what, has.L, has.P),
                .dtype = t,
                // Slack 2 for the shortest rows: rsqrtf is good to 2 units in the last place, and
                // there is no sum whose rounding would hide it.
                .slack = D < 8 ? 2.0 : 1.0,
                .small = small};
  info.cost = {n * (wide + (has.dy ? size_of(t) : 0) + (has.up ? wide : 0) +
                    writes * ((has.dx ? size_of(has.dx_accum ? accum(t) : t) : 0) +
                              (has.dresidual ? wide : 0))),
               (has.L ? 17 : 14) * n};
  list.push_back(make_case<AddNormBwd>(info, [=](CaseMemory& m) {
    AddNormBwd p{.dtype = m.dtype(),
                 .x_dtype = has.dx_accum ? m.accum_dtype() : m.dtype(),
                 .kind = kind,
                 .rows = rows,
                 .D = D,
                 .accumulate_dx = has.add,
                 .accumulate_dresidual = has.add,
                 .rotation = rotation(m, has.L, has.P, D)};
    const int64_t count = rows * D;
    p.v = m.in_accum("v", count, -1, 2);
    p.w = m.in_accum("w", D, 0.5, 1.5);
    if (kind == NormKind::layer) p.mean = m.in_accum("mean", rows, 0.3, 0.7);
    p.rstd = m.in_accum("rstd", rows, 0.8, 1.2);
    if (has.dy) p.dy = m.in("dy", count, -1, 1);
    if (has.up) p.dresidual_out = m.in_accum("dresidual_out", count, -1, 1);
    if (has.dx && has.dx_accum)
      p.dx = has.add ? m.inout_accum("dx", count, -1, 1) : m.out_accum("dx", count);
    else if (has.dx)
      p.dx = has.add ? m.inout("dx", count, -1, 1) : m.out("dx", count);
    if (has.dresidual)
      p.dresidual =
          has.add ? m.inout_accum("dresidual", count, -1, 1) : m.out_accum("dresidual", count);
    if (has.sums) {
      p.dw = m.inout_accum("dw", D, -1, 1);
      p.db = m.inout_accum("db", D, -1, 1);
    }
    return p;
  }));
}

}  // namespace

void add_norm_cases(CaseList& list) {
  for (DType t : {DType::f32, DType::bf16})
    for (NormKind kind : {NormKind::rms, NormKind::layer}) {
      const int64_t sizes[][2] = {{1, 2},   {5, 1},   {31, 7},  {65, 64},  {197, 192},
                                  {9, 200}, {9, 384}, {7, 768}, {3, 1022}, {3, 1100}};
      for (const auto& [rows, D] : sizes) {
        add_fwd(list, t, kind, rows, D, {.what = ""});
        add_bwd(list, t, kind, rows, D, {.what = ""});
      }
      for (int64_t D : {31, 64}) {
        add_fwd(list, t, kind, 31, D, {.what = " no x", .x = false});
        add_fwd(list, t, kind, 31, D,
                {.what = " no residual, no b", .residual = false, .bias = false});
        add_fwd(list, t, kind, 31, D, {.what = " x accum", .x_accum = true});
        add_bwd(list, t, kind, 31, D, {.what = " add", .add = true});
        add_bwd(list, t, kind, 31, D, {.what = " add, dx accum", .dx_accum = true, .add = true});
        add_bwd(list, t, kind, 31, D,
                {.what = " no dresidual_out, no dx", .up = false, .dx = false});
        add_bwd(list, t, kind, 31, D,
                {.what = " no dy, no dresidual", .dy = false, .dresidual = false});
        add_bwd(list, t, kind, 31, D, {.what = " no dw, no db", .sums = false});
        add_bwd(list, t, kind, 1300, D, {.what = " only dw, db", .dx = false, .dresidual = false});
      }
      // Rotated: rows of the tables for every token, all but the first, and (5) fewer tokens than
      // rows that are in work at once, and not a divisor of their number.
      const int64_t turned[][4] = {{6, 2, 3, 3},         {130, 192, 65, 64}, {1295, 192, 5, 5},
                                   {394, 384, 197, 196}, {45, 66, 9, 7},     {14, 768, 7, 7}};
      for (const auto& [rows, D, L, P] : turned) {
        add_fwd(list, t, kind, rows, D, {.what = "", .L = L, .P = P});
        add_bwd(list, t, kind, rows, D, {.what = "", .L = L, .P = P});
      }
      for (int64_t D : {64, 66}) {
        add_fwd(list, t, kind, 30, D, {.what = " no x", .x = false, .L = 10, .P = 9});
        add_fwd(
            list, t, kind, 30, D,
            {.what = " x accum, no residual", .x_accum = true, .residual = false, .L = 5, .P = 5});
        add_bwd(list, t, kind, 30, D, {.what = " add", .add = true, .L = 10, .P = 9});
        add_bwd(list, t, kind, 30, D,
                {.what = " no dy, no dx", .dy = false, .dx = false, .L = 5, .P = 5});
      }
      for (int64_t L : {0, 64}) {
        add_fwd(list, t, kind, 512 * 64, 192, {.what = "", .bias = false, .L = L, .P = L}, false);
        add_bwd(list, t, kind, 512 * 64, 192, {.what = "", .L = L, .P = L}, false);
      }
    }
}

void add_norm_huge(CaseList& list, int64_t elements) {
  for (DType t : {DType::f32, DType::bf16})
    for (NormKind kind : {NormKind::rms, NormKind::layer})
      for (int64_t D : {33, 200})
        add_repeated(list, elements / (31 * D) + 1, [=](CaseList& to, int64_t times) {
          add_fwd(to, t, kind, 31 * times, D, {.what = ""});
          add_bwd(to, t, kind, 31 * times, D, {.what = ""});
        });
}

}  // namespace krait
