// The selective scan op: one or two sides, softplus, skip and gate in one launch.
#include "engine/ops/matmul.h"
#include "engine/ops/ops.h"
#include "kernels/selective_scan/selective_scan.h"

namespace krait {
namespace {

void check_side(const ScanSide& s, const Shape& first, DType type) {
  const Shape& u = s.u.shape();
  const int64_t E = u[-1], N = s.A_log.shape(-1);
  KRAIT_CHECK(u.rank == 3 && u == first && s.u.dtype() == type, "selective_scan: u is ", u,
              ", the first side's is ", first);
  const bool given = bool(s.delta);
  KRAIT_CHECK(!given || s.delta.shape() == u, "selective_scan: delta is ", s.delta.shape(),
              ", u is ", u);
  KRAIT_CHECK(s.u.contiguous() && (!given || s.delta.contiguous()),
              "selective_scan: u or delta is a part of something wider");
  KRAIT_CHECK(given || (s.dt && s.dt.shape() == u.with_last(s.dt_w.shape(-1)) &&
                        s.dt_w.shape() == Shape({E, s.dt.shape(-1)}) && s.dt_w.contiguous()),
              "selective_scan: dt is ", s.dt.shape(), ", its weight ", s.dt_w.shape(), ", u is ",
              u);
  KRAIT_CHECK(s.A_log.shape() == Shape({E, N}) && N >= 1 && N <= 64, "selective_scan: A_log is ",
              s.A_log.shape(), ", u is ", u, " (1 to 64 states are possible)");
  const Shape bc = u.with_last(N);
  KRAIT_CHECK(s.Bm.shape() == bc && s.Cm.shape() == bc, "selective_scan: B is ", s.Bm.shape(),
              ", C is ", s.Cm.shape(), ", both should be ", bc);
  KRAIT_CHECK(!s.D || s.D.shape() == Shape({E}), "selective_scan: D is ", s.D.shape());
  KRAIT_CHECK(!s.bias || s.bias.shape() == Shape({E}), "selective_scan: bias is ", s.bias.shape());
}

// What ScanFwd::Side and ScanBwd::Side have in common.
template <class Side>
void set_inputs(Side& to, const ScanSide& s) {
  to.reverse = s.reverse;
  to.u = s.u.data();
  to.delta = s.delta.data();
  to.dt = s.dt.data();
  to.dt_w = s.dt_w.data();
  to.dt_row = s.dt.row_stride();
  to.A_log = s.A_log.data();
  to.Bm = s.Bm.data();
  to.Cm = s.Cm.data();
  to.D = s.D.data();
  to.bias = s.bias.data();
  to.b_row = s.Bm.row_stride();
  to.c_row = s.Cm.row_stride();
}
// ... and ScanFwd and ScanBwd themselves.
template <class P>
void set_sizes(P& p, const ScanSide& s, size_t sides, double scale, bool softplus) {
  p.dtype = s.u.dtype();
  p.B = s.u.shape(0);
  p.L = s.u.shape(1);
  p.E = static_cast<int>(s.u.shape(2));
  p.N = static_cast<int>(s.A_log.shape(-1));
  p.R = s.delta ? 0 : static_cast<int>(s.dt.shape(-1));
  p.sides = static_cast<int>(sides);
  p.softplus = softplus;
  p.scale = scale;
}

// Everything the backward pass reads.
struct Kept {
  std::vector<ScanSide> sides;
  std::vector<Tensor> states;
  Tensor z, sum;
  double scale;
  bool softplus;
};

// Launches the gradient of sides [from, to). Their targets must not overlap.
void launch_backward(Context& ctx, Tape::Step& step, const Kept& kept, size_t from, size_t to) {
  ScanBwd p{};
  set_sizes(p, kept.sides[0], to - from, kept.scale, kept.softplus);
  std::vector<Tensor> deltas;  // gradients of the deltas that were made inside
  std::vector<Tensor> unused;
  // A row that makes delta inside writes all of these, also what nobody wants (frozen parameters).
  auto target = [&](const Tensor& t, bool always) {
    Tape::Target to = step.into(t);
    if (to || !always) return to;
    unused.push_back(ctx.empty(t.shape(), t.dtype(), t.row_stride()));
    return Tape::Target{unused.back(), false};
  };
  for (size_t k = from; k < to; ++k) {
    const ScanSide& s = kept.sides[k];
    const auto du = target(s.u, !s.delta), dB = target(s.Bm, !s.delta), dC = target(s.Cm, !s.delta);
    const auto ddelta =
        s.delta ? step.into(s.delta) : Tape::Target{ctx.empty(s.u.shape(), s.u.dtype()), false};
    auto& side = p.side[k - from];
    if (!s.delta) {
      const auto ddt = target(s.dt, true);
      KRAIT_CHECK(!ddt.accumulate, "selective_scan: dt is used once");
      side.ddt = ddt.data();
      side.ddt_row = ddt.grad.row_stride();
      deltas.push_back(ddelta.grad);
    }
    set_inputs(side, s);
    side.states = kept.states[k].data();
    side.du = du.data();
    side.ddelta = ddelta.data();
    side.dBm = dB.data();
    side.dCm = dC.data();
    side.db_row = dB.grad.row_stride();
    side.dc_row = dC.grad.row_stride();
    side.accumulate_du = du.accumulate;
    side.accumulate_ddelta = ddelta.accumulate;
    side.accumulate_dBm = dB.accumulate;
    side.accumulate_dCm = dC.accumulate;
    side.dA_log = step.into_accumulated(s.A_log).data();
    side.dD = step.into_accumulated(s.D).data();
    side.dbias = step.into_accumulated(s.bias).data();
  }
  p.z = kept.z.data();
  p.z_row = kept.z.row_stride();
  p.dy = step.dy().data();
  if (from == 0 && kept.z)
    if (auto dz = step.into(kept.z)) {
      p.sum = kept.sum.data();
      p.dz = dz.data();
      p.dz_row = dz.grad.row_stride();
      p.accumulate_dz = dz.accumulate;
    }
  ctx.launch(p);
  std::vector<WantedProduct> dw;  // dt_w: ddelta^T dt
  for (size_t k = from; k < to && !deltas.empty(); ++k)
    dw.push_back({deltas[k - from], kept.sides[k].dt, step.into(kept.sides[k].dt_w)});
  matmul_beside(ctx, dw);
}

bool same_inputs(const std::vector<ScanSide>& sides) {
  return sides.size() == 2 && sides[0].u.data() == sides[1].u.data();
}

// Is there a row that makes delta inside, forward and backward? Reference rows do not count.
bool projects_inside(const Context& ctx, const std::vector<ScanSide>& sides, const Tensor& z,
                     bool softplus) {
  if (ctx.device().backend != Backend::cuda || same_inputs(sides)) return false;
  ScanFwd fwd{};
  ScanBwd bwd{};
  set_sizes(fwd, sides[0], sides.size(), 1, softplus);
  set_sizes(bwd, sides[0], sides.size(), 1, softplus);
  for (size_t k = 0; k < sides.size(); ++k) {
    const ScanSide& s = sides[k];
    set_inputs(fwd.side[k], s);
    set_inputs(bwd.side[k], s);
    auto& side = bwd.side[k];  // gradients lie as what they belong to
    side.states = side.du = side.ddelta = s.u.data();
    side.ddt = s.dt.data(), side.dBm = s.Bm.data(), side.dCm = s.Cm.data();
    side.ddt_row = s.dt.row_stride(), side.db_row = side.dc_row = s.Bm.row_stride();
  }
  fwd.z = bwd.z = z.data();
  fwd.z_row = bwd.z_row = bwd.dz_row = z.row_stride();
  bwd.dz = z.data();
  bwd.sum = bwd.dy = sides[0].u.data();
  return ctx.row_for(fwd) && ctx.row_for(bwd);
}

}  // namespace

Tensor selective_scan(Context& ctx, std::vector<ScanSide> sides, const Tensor& z, double scale,
                      bool softplus) {
  KRAIT_CHECK(sides.size() == 1 || sides.size() == 2, "selective_scan: ", sides.size(), " sides");
  const Tensor u = sides[0].u;
  if (!sides[0].delta && !projects_inside(ctx, sides, z, softplus)) {
    for (ScanSide& s : sides) {
      const bool shared =
          &s != &sides[0] && same_inputs(sides) && s.dt.data() == sides[0].dt.data();
      s.delta = shared ? sides[0].delta : linear(ctx, s.dt, s.dt_w);
    }
    for (ScanSide& s : sides) s.dt = s.dt_w = {};
  }
  for (const ScanSide& s : sides) check_side(s, u.shape(), u.dtype());
  KRAIT_CHECK(!z || z.shape() == u.shape(), "selective_scan: z is ", z.shape(), ", u is ",
              u.shape());
  ScanFwd p{};
  set_sizes(p, sides[0], sides.size(), scale, softplus);
  Kept kept{.sides = sides, .states = {}, .z = z, .sum = {}, .scale = scale, .softplus = softplus};
  const bool keep = ctx.tape() != nullptr;
  // The CPU's f32 row makes the states again; in bf16 it predicts what a GPU does, rounding and
  // all.
  const bool keep_states =
      keep && (ctx.device().backend == Backend::cuda || u.dtype() == DType::bf16);
  for (size_t k = 0; k < sides.size(); ++k) {
    const ScanSide& s = sides[k];
    KRAIT_CHECK(s.A_log.shape(-1) == p.N, "selective_scan: the sides have different states");
    kept.states.push_back(
        keep_states ? ctx.empty({p.B, scan_state_count(p.L, p.N), p.E, p.N}, u.dtype()) : Tensor());
    set_inputs(p.side[k], s);
    p.side[k].states = kept.states[k].data();
  }
  Tensor y = ctx.empty(u.shape(), u.dtype());                 // (B, L, E)
  if (keep && z) kept.sum = ctx.empty(u.shape(), u.dtype());  // (B, L, E)
  p.z = z.data();
  p.z_row = z.row_stride();
  p.sum = kept.sum.data();
  p.y = y.data();
  ctx.launch(p);

  const ScanSide& a = sides.front();
  const ScanSide& b = sides.back();
  ctx.record_op("selective_scan",
                {&a.u, &a.delta, &a.dt, &a.dt_w, &a.A_log, &a.Bm, &a.Cm, &a.D, &a.bias, &b.u,
                 &b.delta, &b.dt, &b.dt_w, &b.A_log, &b.Bm, &b.Cm, &b.D, &b.bias, &z},
                {&y}, [kept](Context& ctx, Tape::Step& step) {
                  // Sides that share an input (bimamba v1) add to one gradient: one after the
                  // other.
                  if (same_inputs(kept.sides)) {
                    launch_backward(ctx, step, kept, 0, 1);
                    launch_backward(ctx, step, kept, 1, 2);
                  } else {
                    launch_backward(ctx, step, kept, 0, kept.sides.size());
                  }
                });
  return y;
}

}  // namespace krait
