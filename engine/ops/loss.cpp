// The losses, and targets made out of logits.
#include "engine/ops/ops.h"
#include "kernels/bce/bce.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/distill/distill.h"

namespace krait {
namespace {

// Logits (B, C), and as many numbers of their accum type.
void check_pair(const char* op, const Tensor& logits, const char* what, const Tensor& other) {
  KRAIT_CHECK(logits.shape().rank == 2 && logits.contiguous() && logits.count() > 0, op,
              ": logits are ", logits.shape());
  KRAIT_CHECK(other.shape() == logits.shape() && other.contiguous(), op, ": ", what, " are ",
              other.shape(), ", logits are ", logits.shape());
  const DType wide = accum(logits.dtype());
  KRAIT_CHECK(other.dtype() == wide, op, ": ", what, " are ", name_of(other.dtype()), ", not ",
              name_of(wide));
}

Tape::Target into_logits(const char* op, Tape::Step& step, const Tensor& logits) {
  auto dlogits = step.into(logits);
  KRAIT_CHECK(dlogits.grad.contiguous() && dlogits.grad.dtype() == logits.dtype(), op,
              ": the gradient of logits is ", name_of(dlogits.grad.dtype()),
              " or a part of something wider");
  return dlogits;
}

}  // namespace

Tensor cross_entropy(Context& ctx, const Tensor& logits, const Tensor& targets, Totals* totals,
                     Prediction* predictions) {
  check_pair("cross_entropy", logits, "targets", targets);
  Tensor loss = ctx.empty({1}, accum(logits.dtype()));
  ctx.launch(CrossEntropyFwd{.dtype = logits.dtype(),
                             .B = logits.shape(0),
                             .C = logits.shape(1),
                             .logits = logits.data(),
                             .targets = targets.data(),
                             .loss = loss.data(),
                             .totals = totals,
                             .predictions = predictions,
                             .state = ctx.state});
  ctx.record_op("cross_entropy", {&logits}, {&loss},
                [logits, targets](Context& ctx, Tape::Step& step) {
                  auto dlogits = into_logits("cross_entropy", step, logits);
                  ctx.launch(CrossEntropyBwd{.dtype = logits.dtype(),
                                             .B = logits.shape(0),
                                             .C = logits.shape(1),
                                             .accumulate = dlogits.accumulate,
                                             .logits = logits.data(),
                                             .targets = targets.data(),
                                             .dloss = step.dy().data(),
                                             .dlogits = dlogits.data()});
                });
  return loss;
}

Tensor bce(Context& ctx, const Tensor& logits, const Tensor& targets, bool binary) {
  check_pair("bce", logits, "targets", targets);
  Tensor loss = ctx.empty({1}, accum(logits.dtype()));
  ctx.launch(BceFwd{.dtype = logits.dtype(),
                    .B = logits.shape(0),
                    .C = logits.shape(1),
                    .binary = binary,
                    .logits = logits.data(),
                    .targets = targets.data(),
                    .loss = loss.data()});
  ctx.record_op("bce", {&logits}, {&loss},
                [logits, targets, binary](Context& ctx, Tape::Step& step) {
                  auto dlogits = into_logits("bce", step, logits);
                  ctx.launch(BceBwd{.dtype = logits.dtype(),
                                    .B = logits.shape(0),
                                    .C = logits.shape(1),
                                    .binary = binary,
                                    .accumulate = dlogits.accumulate,
                                    .logits = logits.data(),
                                    .targets = targets.data(),
                                    .dloss = step.dy().data(),
                                    .dlogits = dlogits.data()});
                });
  return loss;
}

Tensor distillation(Context& ctx, const Tensor& logits, const Tensor& teacher, double tau) {
  check_pair("distillation", logits, "the teacher's", teacher);
  KRAIT_CHECK(tau > 0, "distillation: a temperature of ", tau);
  Tensor loss = ctx.empty({1}, accum(logits.dtype()));
  ctx.launch(KlFwd{.dtype = logits.dtype(),
                   .B = logits.shape(0),
                   .C = logits.shape(1),
                   .tau = tau,
                   .logits = logits.data(),
                   .teacher = teacher.data(),
                   .loss = loss.data()});
  ctx.record_op("distillation", {&logits}, {&loss},
                [logits, teacher, tau](Context& ctx, Tape::Step& step) {
                  auto dlogits = into_logits("distillation", step, logits);
                  ctx.launch(KlBwd{.dtype = logits.dtype(),
                                   .B = logits.shape(0),
                                   .C = logits.shape(1),
                                   .tau = tau,
                                   .accumulate = dlogits.accumulate,
                                   .logits = logits.data(),
                                   .teacher = teacher.data(),
                                   .dloss = step.dy().data(),
                                   .dlogits = dlogits.data()});
                });
  return loss;
}

Tensor hard_targets(Context& ctx, const Tensor& logits) {
  KRAIT_CHECK(logits.shape().rank == 2 && logits.contiguous(), "hard_targets: logits are ",
              logits.shape());
  Tensor out = ctx.empty(logits.shape(), accum(logits.dtype()));
  ctx.launch(LogitTargets{.dtype = logits.dtype(),
                          .kind = LogitTargets::Kind::hard,
                          .B = logits.shape(0),
                          .C = logits.shape(1),
                          .binary = false,
                          .logits = logits.data(),
                          .targets = nullptr,
                          .out = out.data()});
  return out;
}

Tensor cosub_targets(Context& ctx, const Tensor& logits, const Tensor& labels, bool binary) {
  KRAIT_CHECK(logits.shape().rank == 2 && labels.shape().rank == 2 &&
                  logits.shape(0) == 2 * labels.shape(0) && logits.shape(1) == labels.shape(1),
              "cosub_targets: logits are ", logits.shape(), ", labels are ", labels.shape());
  KRAIT_CHECK(logits.contiguous() && labels.contiguous() && labels.dtype() == accum(logits.dtype()),
              "cosub_targets: labels are ", name_of(labels.dtype()),
              ", or something is a part of something wider");
  Tensor out = ctx.empty(logits.shape(), labels.dtype());
  ctx.launch(LogitTargets{.dtype = logits.dtype(),
                          .kind = LogitTargets::Kind::cosub,
                          .B = logits.shape(0),
                          .C = logits.shape(1),
                          .binary = binary,
                          .logits = logits.data(),
                          .targets = labels.data(),
                          .out = out.data()});
  return out;
}

Tensor weigh(Context& ctx, const Tensor& x, double weight) {
  Tensor w = ctx.empty({1}, accum(x.dtype()));
  ctx.fill(w, weight);
  return scale_columns(ctx, x, w);
}

Tensor twice(Context& ctx, const Tensor& x) {
  Shape shape = x.shape();
  shape.dim[0] *= 2;
  Tensor y = ctx.empty(shape, x.dtype());
  const auto bytes = x.count() * static_cast<int64_t>(size_of(x.dtype()));
  copy(ctx, x, Tensor(y.memory(), x.shape(), x.dtype()));
  std::shared_ptr<std::byte> second(y.memory(), y.memory().get() + bytes);
  copy(ctx, x, Tensor(second, x.shape(), x.dtype()));
  return y;
}

}  // namespace krait
