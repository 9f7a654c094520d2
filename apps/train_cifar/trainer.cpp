// The steps and epochs of a training. One step is Trainer::forward_backward and Trainer::update.
#include "apps/train_cifar/trainer.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "apps/train_cifar/interrupt.h"
#include "apps/train_cifar/progress.h"

namespace krait {

// ---- one step

Tensor Trainer::forward_backward(Context& ctx) {
  ctx.training = true;
  Tape tape;
  auto recording = ctx.record(tape);
  params_.watch(tape);  // gradients go to their own memory
  auto [images, targets] =
      train_data_->batch(ctx, options_.batch_size, augment_, true, type_);  // (B, 3, S, S), (B, C)
  Tensor logits = vim(ctx, config_, vim_weights(config_, params_), rope_, images);  // (B, C)
  Tensor loss = cross_entropy(ctx, logits, targets, train_totals_.as<Totals>());    // (1)
  tape.backward(ctx, loss);
  return loss;
}

void Trainer::update(Context& ctx, const Tensor& loss) {
  copy(ctx, loss, channel_.loss());
  adamw_step(ctx, params_, adam_, channel_.result());  // clip, step, bf16 copy, EMA, zero gradients
}

// What the host decides for a step: everything the step's kernels read that changes.
StepState Trainer::state_of(uint64_t step) const {
  StepState s;
  const int64_t epoch = step / steps_per_epoch_;
  s.seed = now_.seed;
  s.first = (step % steps_per_epoch_) * options_.batch_size;
  set_step(s, adam_, step,
           options_.schedule_unit == "step" ? schedule_.during_step(step, steps_per_epoch_)
                                            : schedule_.during_epoch(epoch));
  if (augment_.mix) draw_mix(s, mix_, config_.img_size);
  return s;
}

void Trainer::check(const StepChannel::Arrived& arrived) {
  if (!arrived) return;
  const auto& [state, result] = *arrived;
  last_loss_ = result.loss;
  if (result.halted || !std::isfinite(result.loss)) explain_not_finite(state);
}

// The parameters are as they were before the step (AdamW halts itself), so it can be run again,
// with every tensor looked at.
void Trainer::explain_not_finite(const StepState& at) {
  channel_.drain();
  ctx_.wait();
  std::string what;
  for (const Param& p : params_.all())
    if (what.empty() && !ctx_.all_finite(params_.part(ParamStore::Role::master, p)))
      what = "parameter " + p.name;
  if (what.empty()) {
    train_data_->prepare(ctx_, at, options_.batch_size);
    channel_.send(at);
    ctx_.watch_finite(true);
    forward_backward(ctx_);
    what = ctx_.not_finite();
    ctx_.watch_finite(false);
    for (const Param& p : params_.all())
      if (what.empty() && !ctx_.all_finite(params_.part(ParamStore::Role::gradient, p)))
        what = "gradient of " + p.name;
  }
  const std::string last = options_.output_dir.empty()
                               ? "there is no checkpoint (no --output_dir)"
                               : "the last good checkpoint is in " + options_.output_dir;
  throw Error(
      fmt::format("the loss is not finite at step {} (epoch {}): the first tensor that is "
                  "not finite is {}; {}",
                  at.step, at.step / steps_per_epoch_,
                  what.empty() ? "not found when the step is run again" : what, last));
}

// ---- epochs

double Trainer::elapsed() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
}
bool Trainer::out_of_time() const {
  return options_.max_minutes > 0 && elapsed() > 60 * options_.max_minutes;
}

void Trainer::train(uint64_t stop_at) {
  started_ = std::chrono::steady_clock::now();
  seconds_before_ = now_.seconds;
  const auto all = static_cast<uint64_t>(steps_per_epoch_ * options_.epochs);
  const uint64_t steps = std::min(all, stop_at);
  stop_at_ = steps;
  if (now_.step >= all)
    fmt::print("nothing to do: {} of {} epochs are trained\n", now_.epoch, options_.epochs);
  while (now_.step < steps && !interrupted_ && !out_of_time()) train_epoch();
  writer_.finish();
}

void Trainer::train_epoch() {
  const int64_t B = options_.batch_size, epoch = now_.step / steps_per_epoch_;
  const auto epoch_start = std::chrono::steady_clock::now();
  const double epoch_seconds_before = now_.epoch_seconds;
  auto keep_time = [&] {
    now_.seconds = seconds_before_ + elapsed();
    now_.epoch_seconds =
        epoch_seconds_before +
        std::chrono::duration<double>(std::chrono::steady_clock::now() - epoch_start).count();
  };
  train_data_->shuffle(ctx_, now_.seed, epoch);
  ctx_.upload(train_totals_, &now_.epoch_totals, sizeof(Totals));
  Progress progress(fmt::format("epoch {}/{}", epoch + 1, options_.epochs), steps_per_epoch_,
                    options_.print_every);
  int64_t at = now_.step % steps_per_epoch_;
  while (at < steps_per_epoch_) {
    const StepState state = state_of(now_.step);
    train_data_->prepare(ctx_, state, B);
    channel_.send(state);
    graph_.run(ctx_, [&] { update(ctx_, forward_backward(ctx_)); });
    const auto arrived = channel_.exchange();
    check(arrived);
    ++now_.step;
    ++at;
    if (arrived)
      progress.show(at, at * B,
                    fmt::format("loss {:.3f}  lr {:.1e}  {}", arrived->second.loss, state.lr,
                                human_bytes(ctx_.arena().extent())));
    interrupted_ = interrupt_asked();
    if (interrupted_ || out_of_time() || now_.step >= stop_at_) break;
  }
  check(channel_.drain());
  ctx_.wait();
  progress.finish();
  ctx_.download(&now_.epoch_totals, train_totals_, sizeof(Totals));
  ctx_.training = false;
  keep_time();
  now_.epoch = now_.step / steps_per_epoch_;
  now_.step_in_epoch = now_.step % steps_per_epoch_;
  if (at < steps_per_epoch_ && !out_of_time())
    save();
  else
    finish_epoch();
}

}  // namespace krait
