// What follows an epoch: evaluation, a line for the reader, a line for the log, a checkpoint.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <utility>

#include "apps/train_cifar/progress.h"
#include "apps/train_cifar/trainer.h"

namespace krait {

// Evaluates where it is time to, prints, logs and saves. Out of time, it is called within an epoch.
void Trainer::finish_epoch() {
  const bool whole = now_.step_in_epoch == 0;
  const int64_t epoch = whole ? now_.epoch - 1 : now_.epoch;
  const Totals t = now_.epoch_totals;
  const double seconds = now_.epoch_seconds;
  if (whole) {
    now_.epoch_totals = {};
    now_.epoch_seconds = 0;
  } else {
    fmt::print("{} minutes are over\n", options_.max_minutes);
  }
  const double lr = state_of(now_.step - 1).lr, loss = t.loss / std::max<int64_t>(t.count, 1);
  const double speed = t.count / std::max(seconds, 1e-9);
  const bool last = !whole || epoch + 1 == options_.epochs || out_of_time();
  std::optional<Evaluation> tested, average;
  if (last || (epoch + 1) % options_.eval_every == 0) {
    tested = evaluate();
    average = evaluate_average();
  }
  bool best = false;
  if (tested) {
    const double acc1 = options_.result == "ema" ? average->acc1 : tested->acc1;
    best = acc1 > now_.best_acc1 || now_.best_epoch < 0;
    if (best) {
      now_.best_acc1 = acc1;
      now_.best_epoch = epoch;
    }
  }
  now_.seconds = seconds_before_ + elapsed();
  std::string test;
  if (tested)
    test = fmt::format("test loss {:.4f}  Acc@1 {:.2f}  Acc@5 {:.2f}  best {:.2f}  ", tested->loss,
                       tested->acc1, tested->acc5, now_.best_acc1);
  fmt::print("epoch {}/{}  lr {:.2e}  train loss {:.4f}  {}{:.0f} images/s  {}  {}\n", epoch + 1,
             options_.epochs, lr, loss, test, speed, human_time(now_.seconds),
             human_bytes(ctx_.arena().extent()));
  if (average)
    fmt::print("  average of the weights: test loss {:.4f}  Acc@1 {:.2f}  Acc@5 {:.2f}\n",
               average->loss, average->acc1, average->acc5);
  const double waited = train_data_->seconds_waited() - seconds_waited_;
  seconds_waited_ += waited;
  if (waited > 1 && waited > 0.05 * seconds)
    fmt::print("  {:.1f} of {:.1f} s went by waiting for pictures to be decoded\n", waited,
               seconds);
  if (tested) note_target(*tested, average);
  std::fflush(stdout);
  if (options_.output_dir.empty()) return;
  nlohmann::ordered_json line = {{"train_lr", lr}, {"train_loss", loss}};
  if (tested) {
    line["test_loss"] = tested->loss;
    line["test_acc1"] = tested->acc1;
    line["test_acc5"] = tested->acc5;
  }
  line["epoch"] = epoch;
  line["n_parameters"] = params_.count();
  line["images_per_second"] = speed;
  line["seconds"] = now_.seconds;
  line["step_bytes"] = ctx_.arena().extent();
  line["persistent_bytes"] = ctx_.persistent_bytes();
  line["host_bytes"] = resident_bytes();
  if (average) {
    line["test_loss_ema"] = average->loss;
    line["test_acc1_ema"] = average->acc1;
    line["test_acc5_ema"] = average->acc5;
  }
  if (report_) {
    const auto& by = options_.result == "ema" ? average : tested;
    report_->add(line, by ? by->predictions : std::vector<Prediction>(), best);
  }
  if (whole) append_log(options_.output_dir, line);  // one line per epoch
  // Last: whoever goes on from the checkpoint finds the log up to there.
  save(best);
}

// Stops the training where --target-acc1 is reached, and says by whom and after how long.
void Trainer::note_target(const Evaluation& model, const std::optional<Evaluation>& average) {
  if (!options_.target_acc1) return;
  const bool by_model = model.acc1 >= *options_.target_acc1;
  if (!by_model && !(average && average->acc1 >= *options_.target_acc1)) return;
  target_reached_ = true;
  fmt::print("target of {} % reached by the {}: {:.2f} % after {:.1f} s of training\n",
             *options_.target_acc1, by_model ? "model" : "average of the weights",
             by_model ? model.acc1 : average->acc1, now_.seconds);
}

// Written while the training goes on; the next save, or train(), waits for it.
void Trainer::save(bool best) {
  if (options_.output_dir.empty()) return;
  const std::filesystem::path folder(options_.output_dir);
  std::vector<std::string> names = {(folder / "checkpoint.safetensors").string()};
  if (best) names.push_back((folder / "best_checkpoint.safetensors").string());
  writer_.save(ctx_, names, params_, now_);
}

Evaluation Trainer::evaluate() {
  const bool was_training = std::exchange(ctx_.training, false);
  ctx_.fill(test_totals_, 0);
  const int64_t most = std::min(part_, test_to_ - test_from_);
  for (int64_t first = test_from_; first < test_to_; first += most) {
    const int64_t B = std::min(most, test_to_ - first);  // the last batch may be smaller
    auto infer = [&] {
      auto [images, targets] = test_data_->batch(ctx_, B, plain_, false, type_);
      Tensor logits = model_.logits(ctx_, params_, images);
      cross_entropy(ctx_, logits, targets, test_totals_.as<Totals>(),
                    predictions_.as<Prediction>());
    };
    if (ctx_.measuring()) {
      infer();
      break;
    }
    StepState state;
    state.first = first;
    test_data_->prepare(ctx_, state, B);
    channel_.send(state);
    evaluation_graphs_.run(ctx_, {B, params_.using_ema()}, infer);
    channel_.exchange();  // waits for the batch before this one
  }
  channel_.drain();
  ctx_.training = was_training;
  if (ctx_.measuring()) return {};
  Totals mine, t;
  ctx_.download(&mine, test_totals_, sizeof mine);
  for (const Totals& of : ranks_.gather(mine)) {
    t.loss += of.loss;
    t.count += of.count;
    t.top1 += of.top1;
    t.top5 += of.top5;
  }
  const double n = std::max<int64_t>(t.count, 1);
  Evaluation e{t.loss / n, 100.0 * t.top1 / n, 100.0 * t.top5 / n, {}};
  e.predictions.resize(test_data_->count());
  ctx_.download(e.predictions.data(), predictions_, e.predictions.size() * sizeof(Prediction));
  for (int r = 0; r < ranks_.size(); ++r) {
    const auto [from, to] = part_of(test_data_->count(), r, ranks_.size());
    ranks_.broadcast(e.predictions.data() + from, (to - from) * sizeof(Prediction), r);
  }
  return e;
}

std::optional<Evaluation> Trainer::evaluate_average() {
  if (!params_.flat(ParamStore::Role::ema)) return {};
  params_.use_ema(ctx_, true);
  const Evaluation e = evaluate();
  params_.use_ema(ctx_, false);
  return e;
}

}  // namespace krait
