// What a step minimises.
#include "apps/train_cifar/objective.h"

#include "engine/checkpoint.h"

namespace krait {

Teacher::Teacher(Context& ctx, const std::string& path, DType type, int size, int classes)
    : path_(path) {
  const Checkpoint from = read_checkpoint(path);
  KRAIT_INPUT(from.state && !from.state->config.empty(), path,
              ": does not say which model it is of, so it cannot be a teacher");
  name_ = from.state->model;
  model_ = ImageModel(model_config_from_json(from.state->config));
  KRAIT_INPUT(model_.img_size() == size, path, ": the teacher takes pictures of side ",
              model_.img_size(), ", the model those of side ", size, " (--input-size)");
  KRAIT_INPUT(model_.num_classes() == classes, path, ": the teacher knows ", model_.num_classes(),
              " classes, the data set has ", classes);
  params_ = std::make_unique<ParamStore>([this](ParamStore& s) { model_.declare(s); });
  const bool average = saved_option(from.state->options, "result") == "\"ema\"" && from.has_ema();
  params_->allocate(ctx, type, {.ema = average});
  load_checkpoint(ctx, from, *params_, false);
  if (average) {
    params_->use_ema(ctx, true);
    name_ += " (average)";
  }
  model_.make_tables(ctx, type);
}

Tensor Teacher::logits(Context& ctx, const Tensor& images) const {
  const bool training = std::exchange(ctx.training, false);
  auto nothing = ctx.record_nothing();
  Tensor out = model_.logits(ctx, *params_, images);
  ctx.training = training;
  return out;
}

std::string Teacher::summary() const {
  return name_ + " from " + path_;
}

Objective::Objective(Context& ctx, const TrainOptions& o, DType type, int size, int classes)
    : bce_(o.bce_loss),
      cosub_(o.cosub),
      hard_(o.distillation_type == "hard"),
      alpha_(o.distillation_alpha),
      tau_(o.distillation_tau) {
  if (o.distillation_type != "none" && !o.eval)
    teacher_ = std::make_unique<Teacher>(ctx, o.teacher_path, type, size, classes);
}

Tensor Objective::base(Context& ctx, const Tensor& logits, const Tensor& targets) const {
  return bce_ ? bce(ctx, logits, targets, true) : cross_entropy(ctx, logits, targets);
}

Tensor Objective::loss(Context& ctx, const Model& model, const Tensor& images,
                       const Tensor& targets) const {
  if (cosub_) {  // 1/4 sum over both halves of BCE(own, labels) + BCE(own, sigmoid(other))
    const Tensor logits = model(twice(ctx, images));  // (2B, C)
    return bce(ctx, logits, cosub_targets(ctx, logits, targets, bce_));
  }
  if (!teacher_) return base(ctx, model(images), targets);
  const Tensor answer = teacher_->logits(ctx, images);  // (B, C)
  const Tensor logits = model(images);
  const Tensor learned = hard_ ? cross_entropy(ctx, logits, hard_targets(ctx, answer))
                               : distillation(ctx, logits, answer, tau_);
  return add(ctx, weigh(ctx, base(ctx, logits, targets), 1 - alpha_), weigh(ctx, learned, alpha_));
}

}  // namespace krait
