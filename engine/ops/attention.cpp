// The op attention: softmax attention of several heads.
#include "kernels/attention/attention.h"

#include <cmath>

#include "engine/ops/ops.h"

namespace krait {

Tensor attention(Context& ctx, const Tensor& qkv, int heads) {
  KRAIT_CHECK(heads > 0 && qkv.shape().rank == 3 && qkv.shape(2) % (3 * heads) == 0,
              "attention: qkv is ", qkv.shape(), ", not (B, L, 3 D) with a D of ", heads, " heads");
  KRAIT_CHECK(qkv.contiguous(), "attention: qkv ", qkv.shape(), " is a part of something wider");
  const int64_t B = qkv.shape(0), L = qkv.shape(1), D = qkv.shape(2) / 3;
  AttentionFwd p{.dtype = qkv.dtype(),
                 .B = B,
                 .L = L,
                 .heads = heads,
                 .d = D / heads,
                 .scale = 1 / std::sqrt(static_cast<double>(D / heads)),
                 .qkv = qkv.data(),
                 .y = nullptr,
                 .lse = nullptr};
  Tensor y = ctx.empty({B, L, D}, qkv.dtype());
  Tensor lse = ctx.tape() ? ctx.empty({B, heads, L}, accum(qkv.dtype())) : Tensor();
  p.y = y.data();
  p.lse = lse.data();
  ctx.launch(p);
  auto backward = [qkv, out = y, lse, p](Context& ctx, Tape::Step& step) {
    auto dqkv = step.into(qkv);
    KRAIT_CHECK(dqkv.grad.contiguous() && dqkv.grad.dtype() == p.dtype,
                "attention: the gradient of qkv is ", name_of(dqkv.grad.dtype()),
                " or a part of something wider");
    ctx.launch(AttentionBwd{.dtype = p.dtype,
                            .B = p.B,
                            .L = p.L,
                            .heads = p.heads,
                            .d = p.d,
                            .scale = p.scale,
                            .accumulate = dqkv.accumulate,
                            .qkv = p.qkv,
                            .y = p.y,
                            .lse = p.lse,
                            .dy = step.dy().data(),
                            .dqkv = dqkv.data()});
  };
  ctx.record_op("attention", {&qkv}, {&y}, backward);
  return y;
}

}  // namespace krait
