// The steps and epochs of a training. One step is Trainer::forward_backward and Trainer::update.
#include "apps/train_cifar/trainer.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fmt/format.h>

#include "apps/train_cifar/interrupt.h"
#include "apps/train_cifar/progress.h"

namespace krait {

// ---- one step

// Of the whole batch, or of one part of it, on this rank: the gradient counts for as much less, and
// the sum over parts and ranks is that of the whole batch.
void Trainer::forward_backward(Context& ctx, bool last) {
  ctx.training = options_.train_mode;
  Tape tape;
  auto recording = ctx.record(tape);
  params_.watch(tape);  // gradients go to their own memory
  auto [images, targets] =
      train_data_->batch(ctx, part_, augment_, true, type_);  // (B, 3, S, S), (B, C)
  auto model = [&](const Tensor& x) {
    return model_.logits(ctx, params_, x);  // (B, C)
  };
  Tensor loss = objective_->loss(ctx, model, images, targets);  // (1)
  Tensor share = ctx.empty(loss.shape(), loss.dtype());
  ctx.fill(share, 1.0 / static_cast<double>(options_.accumulate * ranks_.size()));
  copy(ctx, loss, channel_.loss());
  if (sum_) {
    auto nothing = ctx.record_nothing();
    copy(ctx, weigh(ctx, loss, 1.0 / ranks_.size()), channel_.loss());
    sum_->start(tape, channel_.loss(), last);
  }
  std::vector<Tensor> losses, shares;
  losses.push_back(std::move(loss));
  shares.push_back(std::move(share));
  tape.backward(ctx, std::move(losses), std::move(shares));
  if (sum_) sum_->finish();
}

void Trainer::update(Context& ctx) {
  // Clips, steps, writes the bf16 copy and the average, and sets gradients to zero.
  optimizer_step(ctx, params_, optimizer_, channel_.result());
}

// What the host decides for a step, or for a part of one: everything the step's kernels read that
// changes. A part draws its random numbers as a step would.
StepState Trainer::state_of(uint64_t step, int64_t part) const {
  StepState s;
  const auto epoch = static_cast<int64_t>(step) / steps_per_epoch_;
  s.seed = now_.seed;
  s.share = share_of(part_, ranks_.rank(), ranks_.size());
  s.first = static_cast<int64_t>(step) % steps_per_epoch_ * whole_ + part * part_ * ranks_.size();
  set_step(s, optimizer_, step + now_.optimizer_ahead,
           options_.schedule_unit == "step" ? schedule_.during_step(step, steps_per_epoch_)
                                            : schedule_.during_epoch(epoch));
  s.step = step * options_.accumulate + part;
  s.operates = options_.aa_off_epoch == 0 || epoch < options_.aa_off_epoch;
  s.mixes = options_.mixup_off_epoch == 0 || epoch < options_.mixup_off_epoch;
  if (augment_.mix && s.mixes) draw_mix(s, augment_.mixing, model_.img_size());
  return s;
}

// Queues a step. Returns the result of the one before, or of its last part, once it has arrived.
std::optional<StepResult> Trainer::train_step(uint64_t step) {
  const int64_t parts = options_.accumulate;
  std::optional<StepResult> last;
  for (int64_t part = 0; part < parts; ++part) {
    const StepState state = state_of(step, part);
    train_data_->prepare(ctx_, state, part_);
    channel_.send(state);
    if (part < parts - 1)
      part_graph_.run(ctx_, [&] { forward_backward(ctx_, false); });
    else
      graph_.run(ctx_, [&] {
        forward_backward(ctx_);
        update(ctx_);
      });
    const auto arrived = channel_.exchange();
    check(arrived);
    if (arrived) last = arrived->second;
  }
  return last;
}

void Trainer::check(const StepChannel::Arrived& arrived) {
  if (!arrived) return;
  const auto& [state, result] = *arrived;
  const uint64_t parts = options_.accumulate;
  last_loss_ = result.loss;
  const bool updated = state.step % parts == parts - 1;  // halted is news
  if (std::isfinite(result.loss) && !(updated && result.halted)) {
    const int64_t pictures = part_ * ranks_.size();
    now_.epoch_totals.loss += static_cast<double>(result.loss) * static_cast<double>(pictures);
    now_.epoch_totals.count += pictures;
    return;
  }
  if (!options_.if_continue_inf) explain_not_finite(state);
  ++skipped_;
  fmt::print("step {} is skipped: its loss, {}, or gradient is not finite\n", state.step / parts,
             result.loss);
}

// The parameters are as they were before the step (AdamW halts itself), so it can be run again,
// with every tensor looked at.
void Trainer::explain_not_finite(const StepState& at) {
  channel_.drain();
  ctx_.wait();
  writer_.finish();
  std::string what;
  for (const Param& p : params_.all())
    if (what.empty() && !ctx_.all_finite(params_.part(ParamStore::Role::master, p)))
      what = "parameter " + p.name;
  if (what.empty()) {
    train_data_->prepare(ctx_, at, part_);
    channel_.send(at);
    ctx_.watch_finite(true);
    forward_backward(ctx_);
    what = ranks_.first_text(ctx_.not_finite());
    ctx_.watch_finite(false);
    for (const Param& p : params_.all())
      if (what.empty() && !ctx_.all_finite(params_.part(ParamStore::Role::gradient, p)))
        what = "gradient of " + p.name;
  }
  const std::filesystem::path folder(options_.output_dir);
  const std::string last = options_.output_dir.empty() ? "there is no checkpoint (no --output_dir)"
                           : std::filesystem::exists(folder / "checkpoint.safetensors")
                               ? "the last good checkpoint is in " + options_.output_dir
                               : "there is no checkpoint yet";
  throw Error(
      fmt::format("the loss is not finite at step {} (epoch {}): the first tensor that is "
                  "not finite is {}; {}",
                  at.step / options_.accumulate, at.step / options_.accumulate / steps_per_epoch_,
                  what.empty() ? "not found when the step is run again" : what, last));
}

// ---- epochs

double Trainer::elapsed() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
}
bool Trainer::out_of_time() {
  if (options_.max_minutes <= 0) return false;
  return ranks_.any(ranks_.rank() == 0 && elapsed() > 60 * options_.max_minutes);
}

void Trainer::train(uint64_t stop_at) {
  started_ = std::chrono::steady_clock::now();
  seconds_before_ = now_.seconds;
  const auto all = static_cast<uint64_t>(steps_per_epoch_ * options_.epochs);
  const uint64_t steps = std::min(all, stop_at);
  stop_at_ = steps;
  if (!options_.output_dir.empty())
    report_.emplace(options_.output_dir, run_facts(), test_set_, now_.epoch);
  if (now_.step >= all)
    fmt::print("nothing to do: {} of {} epochs are trained\n", now_.epoch, options_.epochs);
  while (now_.step < steps && !interrupted_ && !target_reached_ && !out_of_time()) train_epoch();
  writer_.finish();
}

void Trainer::train_epoch() {
  const int64_t B = whole_, epoch = now_.step / steps_per_epoch_;
  const auto epoch_start = std::chrono::steady_clock::now();
  const double epoch_seconds_before = now_.epoch_seconds;
  auto keep_time = [&] {
    now_.seconds = seconds_before_ + elapsed();
    now_.epoch_seconds =
        epoch_seconds_before +
        std::chrono::duration<double>(std::chrono::steady_clock::now() - epoch_start).count();
  };
  train_data_->shuffle(ctx_, now_.seed, epoch, options_.repeated_aug ? 3 : 1);
  Progress progress(fmt::format("epoch {}/{}", epoch + 1, options_.epochs), steps_per_epoch_,
                    options_.print_every);
  int64_t at = now_.step % steps_per_epoch_;
  while (at < steps_per_epoch_) {
    const auto arrived = train_step(now_.step);
    const float lr = state_of(now_.step).lr;
    ++now_.step;
    ++at;
    if (arrived)
      progress.show(at, at * B,
                    fmt::format("loss {:.3f}  lr {:.1e}  {}", arrived->loss, lr,
                                human_bytes(ctx_.arena().extent())));
    writer_.check();  // a training that cannot save does not go on
    interrupted_ = ranks_.any(interrupt_asked());
    if (interrupted_ || out_of_time() || now_.step >= stop_at_) break;
  }
  check(channel_.drain());
  ctx_.wait();
  progress.finish();
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
