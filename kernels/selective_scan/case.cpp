// Sizes at which the selective scan is verified and measured.
#include "kernels/common/case.h"

#include <array>

#include "kernels/selective_scan/selective_scan.h"

namespace krait {
namespace {

struct Size {
  int64_t B, L;
  int E, N, sides;
  bool gate = true, params = true, softplus = true, add = false;
  bool first_reversed = false;  // with one side: scan from the last token
  int R = 0;                    // delta from so many columns; 0: given
  bool odd_rows = false;        // rows of B, C, z on odd addresses, which no model has
  bool fast = false;            // some states fade to nothing in one step
  // Of the few channels here, sums of so many numbers that what they round depends on the order.
  double backward_slack = 1;
};

std::string text(const Size& s) {
  return cat("B=", s.B, " L=", s.L, " E=", s.E, " N=", s.N, " sides=", s.sides,
             s.gate ? "" : " no z", s.params ? "" : " no D, bias", s.softplus ? "" : " no softplus",
             s.add ? " add" : "", s.first_reversed ? " reversed" : "",
             s.R ? cat(" dt of ", s.R) : "", s.odd_rows ? " odd rows" : "", s.fast ? " fast" : "");
}

// Rows of B and C as the model has them: columns of (dt | B | C). z is the half of a row.
int64_t dt_columns(const Size& s) {
  return s.R ? s.R : s.odd_rows ? 5 : 12;
}
int64_t bc_row(const Size& s) {
  return dt_columns(s) + 2 * s.N;
}
int64_t z_row(const Size& s) {
  return s.odd_rows ? s.E + 3 : 2 * s.E;
}

template <class Side>
void inputs(const Size& s, CaseMemory& m, Side& side, bool reverse) {
  const int64_t n = s.B * s.L * s.E, rows = s.B * s.L * bc_row(s);
  side.reverse = reverse;
  side.u = m.in("u", n, -2, 2);
  // Without softplus a step must not be negative, or the state grows without bound.
  if (s.R == 0) side.delta = m.in("delta", n, s.softplus ? -4 : 0.01, s.softplus ? 2 : 0.5);
  side.A_log = m.in_accum("A_log", int64_t{s.E} * s.N, -0.5, s.fast ? 6 : 2.8);
  auto bc = static_cast<std::byte*>(m.in("BC", rows, -1, 1));
  side.Bm = bc + dt_columns(s) * size_of(m.dtype());
  side.Cm = bc + (dt_columns(s) + s.N) * size_of(m.dtype());
  side.b_row = side.c_row = bc_row(s);
  if (s.R > 0) {
    side.dt = bc;
    side.dt_row = bc_row(s);
    side.dt_w = m.in("dt_w", int64_t{s.E} * s.R, -1, 1);
  }
  side.D = s.params ? m.in_accum("D", s.E, -1, 1) : nullptr;
  side.bias = s.params ? m.in_accum("bias", s.E, -2, 0) : nullptr;
}

// What a perfect kernel does, in f32 and without counting loads from shared memory, addresses and
// loops. For each state of a channel, a token and a side:
//   q = 2^(dt a2)        a product and an exponential
//   h = q h + dtu B      a product and a multiply-add
//   s += C h             a multiply-add
// so 5 instructions of 6 flops. Besides, for each side: u and delta loaded and unpacked, bias,
// softplus (an exponential and a logarithm), dt u, D u: 14. And once: z, its sigmoid (an
// exponential and a reciprocal), two products, y packed and stored: 10. Where delta is made inside,
// tensor cores do it, and R columns are read in its place.
Cost forward_cost(const Size& s, DType t) {
  const double n = double(s.B) * s.L * s.E, z = s.gate ? 1 : 0;
  const double states = z * scan_state_count(s.L, s.N) * s.N / s.L;  // kept, with a gate only
  const double bc = 2.0 * s.N / s.E, delta = s.R ? double(s.R) / s.E : 1;
  return {.bytes = n * size_of(t) * (s.sides * (1 + delta + bc + states) + 1 + 2 * z),  // y; z, sum
          .flops = n * (s.sides * (6.0 * s.N + 10) + 8 * z),
          .exps = n * (s.sides * (s.N + (s.softplus ? 2 : 0)) + 2 * z),
          .instructions = n * (s.sides * (5.0 * s.N + 14) + 10 * z)};
}
// Each state is made again (the first 4 instructions above) and kept in registers until the way
// back comes to it. There, with l the gradient of h and g that of s:
//   k = h - dtu B, l = C g + ql, ql = q l    3
//   sum_n l B, sum_n l k a, da += dt l k     4
//   dB, dC: l and h packed as bf16, two at a time; tensor cores multiply and add over channels: 1
// so 12 instructions. Besides, for each side: 24 for u, delta, dt and its slope (one reciprocal
// more than forward), du, ddelta and the sums of dD and dbias; and once 16 for z, sum, dy, dz.
Cost backward_cost(const Size& s, DType t) {
  const double n = double(s.B) * s.L * s.E, z = s.gate ? 1 : 0;
  const double states = double(scan_state_count(s.L, s.N)) * s.N / s.L;
  const double bc = 4.0 * s.N / s.E;                   // with their gradients
  const double delta = s.R ? 1 + 2.0 * s.R / s.E : 2;  // ddelta; dt and ddt, or delta
  return {.bytes = n * size_of(t) * (s.sides * (2 + delta + bc + states) + 1 + 3 * z),
          .flops = n * (s.sides * (19.0 * s.N + 30) + 16 * z),
          .exps = n * (s.sides * (s.N + (s.softplus ? 3 : 0)) + 2 * z),
          .instructions = n * (s.sides * (12.0 * s.N + 24) + 16 * z)};
}

void add_forward(CaseList& list, const Size& s, DType t, bool small) {
  list.push_back(make_case<ScanFwd>(
      {.size = text(s), .dtype = t, .cost = forward_cost(s, t), .small = small},
      [=](CaseMemory& m) {
        ScanFwd p{};
        p.dtype = m.dtype();
        p.B = s.B, p.L = s.L, p.E = s.E, p.N = s.N, p.R = s.R, p.sides = s.sides;
        p.softplus = s.softplus;
        p.scale = s.sides == 2 ? 0.5 : 1.0;
        for (int k = 0; k < s.sides; ++k) {
          inputs(s, m, p.side[k], k == 1 || s.first_reversed);
          if (s.gate)  // some cases without kept states: inference
            p.side[k].states = m.out("states", s.B * scan_state_count(s.L, s.N) * s.E * s.N);
        }
        p.z_row = z_row(s);
        p.z = s.gate ? m.in("z", s.B * s.L * p.z_row, -3, 3) : nullptr;
        p.sum = s.gate ? m.out("sum", s.B * s.L * s.E) : nullptr;
        p.y = m.out("y", s.B * s.L * s.E);
        return p;
      }));
}

void add_backward(CaseList& list, const Size& s, DType t, bool small) {
  list.push_back(make_case<ScanBwd>(
      {.size = text(s),
       .dtype = t,
       .cost = backward_cost(s, t),
       .slack = s.backward_slack,
       .small = small},
      [=](CaseMemory& m) {
        ScanBwd p{};
        p.dtype = m.dtype();
        p.B = s.B, p.L = s.L, p.E = s.E, p.N = s.N, p.R = s.R, p.sides = s.sides;
        p.softplus = s.softplus;
        p.scale = s.sides == 2 ? 0.5 : 1.0;
        const int64_t n = s.B * s.L * s.E, rows = s.B * s.L * bc_row(s);
        for (int k = 0; k < s.sides; ++k) {
          auto& side = p.side[k];
          inputs(s, m, side, k == 1 || s.first_reversed);
          side.du = s.add ? m.inout("du", n, -1, 1) : m.out("du", n);
          side.ddelta = s.add ? m.inout("ddelta", n, -1, 1) : m.out("ddelta", n);
          auto d = static_cast<std::byte*>(m.inout("dBC", rows, -1, 1));
          side.dBm = d + dt_columns(s) * size_of(m.dtype());
          side.dCm = d + (dt_columns(s) + s.N) * size_of(m.dtype());
          side.db_row = side.dc_row = side.ddt_row = bc_row(s);
          side.ddt = s.R > 0 ? d : nullptr;
          side.accumulate_du = side.accumulate_ddelta = s.add;
          side.accumulate_dBm = side.accumulate_dCm = s.add;
          side.dA_log = m.inout_accum("dA_log", int64_t{s.E} * s.N, -1, 1);
          side.dD = s.params ? m.inout_accum("dD", s.E, -1, 1) : nullptr;
          side.dbias = s.params ? m.inout_accum("dbias", s.E, -1, 1) : nullptr;
        }
        p.z_row = z_row(s);
        p.z = s.gate ? m.in("z", s.B * s.L * p.z_row, -3, 3) : nullptr;
        p.sum = s.gate ? m.in("sum", n, -2, 2) : nullptr;
        p.dy = m.in("dy", n, -1, 1);
        p.dz_row = z_row(s);
        p.dz = s.gate ? m.inout("dz", s.B * s.L * p.dz_row, -1, 1) : nullptr;
        p.accumulate_dz = s.add;
        // What the forward pass keeps, from the reference itself.
        for (int k = 0; k < s.sides; ++k)
          p.side[k].states = m.computed(
              s.B * scan_state_count(s.L, s.N) * s.E * s.N, [&](void* states, CaseMemory& host) {
                ScanFwd f{};
                f.dtype = host.dtype();
                f.B = s.B, f.L = s.L, f.E = s.E, f.N = s.N, f.R = s.R, f.sides = 1;
                f.softplus = s.softplus;
                f.scale = 1;
                auto& side = f.side[0];
                const auto& from = p.side[k];
                const int64_t bc = s.B * s.L * bc_row(s);
                side.reverse = from.reverse;
                side.u = host.copy_of(from.u, n);
                if (s.R == 0) side.delta = host.copy_of(from.delta, n);
                side.A_log = host.copy_of_accum(from.A_log, int64_t{s.E} * s.N);
                auto c = static_cast<std::byte*>(host.copy_of(
                    static_cast<const std::byte*>(from.Bm) - dt_columns(s) * size_of(m.dtype()),
                    bc));
                side.Bm = c + dt_columns(s) * size_of(m.dtype());
                side.Cm = c + (dt_columns(s) + s.N) * size_of(m.dtype());
                side.b_row = side.c_row = side.dt_row = from.b_row;
                side.dt = s.R > 0 ? c : nullptr;
                side.dt_w = s.R > 0 ? host.copy_of(from.dt_w, int64_t{s.E} * s.R) : nullptr;
                side.bias = from.bias ? host.copy_of_accum(from.bias, s.E) : nullptr;
                side.states = states;
                f.y = host.out("y", n);
                run(variants<ScanFwd>().back(), f, {.device = case_device(Backend::cpu)});
              });
        return p;
      }));
}

}  // namespace

void add_selective_scan_size(CaseList& list, UserSizes& sizes) {
  const Size s{.B = sizes.take("B", 512, 1 << 16),
               .L = sizes.take("L", 64, 1 << 16),
               .E = static_cast<int>(sizes.take("E", 384, 1 << 14)),
               .N = static_cast<int>(sizes.take("N", 16, 64)),
               .sides = static_cast<int>(sizes.take("sides", 1, 2)),
               .R = static_cast<int>(sizes.take("R", 0, 64, 0))};
  for (DType t : {DType::f32, DType::bf16}) {
    add_forward(list, s, t, false);
    add_backward(list, s, t, false);
  }
}

void add_selective_scan_cases(CaseList& list) {
  for (DType t : {DType::f32, DType::bf16}) {
    for (const Size& s :
         {Size{.B = 2, .L = 1, .E = 8, .N = 16, .sides = 2},
          Size{.B = 2, .L = 65, .E = 24, .N = 16, .sides = 2, .odd_rows = true},
          Size{.B = 3, .L = 65, .E = 24, .N = 16, .sides = 2},
          Size{.B = 2, .L = 64, .E = 136, .N = 16, .sides = 2},
          Size{.B = 1, .L = 7, .E = 64, .N = 16, .sides = 1},
          Size{.B = 2, .L = 33, .E = 136, .N = 16, .sides = 1, .first_reversed = true},
          Size{.B = 1, .L = 21, .E = 40, .N = 16, .sides = 2, .first_reversed = true},  // both are
          Size{.B = 1, .L = 197, .E = 33, .N = 16, .sides = 2, .add = true, .odd_rows = true},
          Size{.B = 1, .L = 197, .E = 200, .N = 16, .sides = 2},
          Size{.B = 1, .L = 70, .E = 136, .N = 16, .sides = 2, .R = 12},
          Size{.B = 3, .L = 33, .E = 40, .N = 16, .sides = 1, .R = 4},
          Size{.B = 1, .L = 9, .E = 40, .N = 16, .sides = 2, .R = 16},
          Size{.B = 3,
          .L = 31,
          .E = 40,
          .N = 8,
          .sides = 1,
          .gate = false,
          .params = false,
          .softplus = false},
          Size{.B = 2, .L = 18, .E = 17, .N = 5, .sides = 1, .first_reversed = true},
          Size{.B = 1, .L = 7, .E = 130, .N = 1, .sides = 2},
          Size{.B = 2, .L = 13, .E = 20, .N = 16, .sides = 2, .fast = true},
          Size{.B = 1, .L = 11, .E = 9, .N = 24, .sides = 2},
          Size{.B = 1, .L = 9, .E = 9, .N = 64, .sides = 1, .add = true},
          Size{.B = 1, .L = 1100, .E = 5, .N = 3, .sides = 2},
          Size{.B = 1, .L = 20000, .E = 8, .N = 16, .sides = 2, .backward_slack = 2},
          Size{.B = 100, .L = 3, .E = 7, .N = 16, .sides = 2},
          Size{.B = 65537, .L = 1, .E = 2, .N = 1, .sides = 1, .backward_slack = 2}}) {
      add_forward(list, s, t, true);
      add_backward(list, s, t, true);
    }
    // Vim-tiny at 32 and 224 pixels, odd batches and lengths, and a single picture.
    for (const auto& [B, L, sides, R] : {std::array{512, 64, 1, 0},
                                         {512, 64, 2, 0},
                                         {512, 64, 2, 12},
                                         {512, 256, 1, 0},
                                         {128, 197, 1, 0},
                                         {128, 197, 2, 0},
                                         {128, 197, 2, 12},
                                         {100, 65, 2, 0},
                                         {512, 65, 2, 0},
                                         {1, 196, 2, 12}}) {
      const Size s{.B = B, .L = L, .E = 384, .N = 16, .sides = sides, .R = R};
      add_forward(list, s, t, false);
      add_backward(list, s, t, false);
    }
  }
}

void add_selective_scan_huge(CaseList& list, int64_t elements) {
  // Rows that take f32 only need more memory: one side, and few states.
  const Size sizes[] = {{.B = 3, .L = 197, .E = 200, .N = 16, .sides = 2},
                        {.B = 3, .L = 197, .E = 200, .N = 16, .sides = 2, .R = 12},
                        {.B = 3, .L = 197, .E = 200, .N = 4, .sides = 1, .first_reversed = true}};
  for (const Size& s : sizes)
    add_repeated(list, elements / (3 * 197 * 200) + 1, [=](CaseList& to, int64_t times) {
      Size z = s;
      z.B *= times;
      const DType t = z.sides == 1 ? DType::f32 : DType::bf16;
      add_forward(to, z, t, true);
      add_backward(to, z, t, true);
    });
}

}  // namespace krait
