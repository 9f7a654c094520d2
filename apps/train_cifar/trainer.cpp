// Sets a training up, runs its steps and epochs, evaluates, logs and saves.
#include "apps/train_cifar/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "apps/train_cifar/interrupt.h"
#include "apps/train_cifar/progress.h"

namespace krait {
namespace {

Dataset load_set(const TrainOptions& o, bool train) {
  if (o.data_set == "CIFAR100") return load_cifar100(o.data_path, train);
  if (o.data_set == "CIFAR10") return load_cifar10(o.data_path, train);
  return synthetic(train, train ? 10000 : 2000);
}

Backend backend_of(const TrainOptions& o) {
  if (o.device == "auto") return available(Backend::cuda) ? Backend::cuda : Backend::cpu;
  return o.device == "cuda" ? Backend::cuda : Backend::cpu;
}

DType type_of(const TrainOptions& o, Backend backend) {
  const std::string p = o.precision != "auto"      ? o.precision
                        : backend == Backend::cuda ? "bf16"
                                                   : "fp32";
  return p == "bf16" ? DType::bf16 : DType::f32;
}

// The named model, or the checkpoint's when no name was given, changed as the options say.
VimConfig config_of(const TrainOptions& o, const Checkpoint& from, const Dataset& data) {
  VimConfig c = !o.model_given && from.state && !from.state->config.empty()
                    ? vim_config_from_json(from.state->config)
                    : vim_config(o.model);
  if (o.patch_size) c.patch_size = c.stride = *o.patch_size;
  if (o.stride) c.stride = *o.stride;
  if (o.depth) c.depth = *o.depth;
  if (o.embed_dim) c.embed_dim = *o.embed_dim;
  if (o.d_state) c.d_state = *o.d_state;
  if (o.d_conv) c.d_conv = *o.d_conv;
  if (o.expand) c.expand = *o.expand;
  if (o.dt_rank) c.dt_rank = *o.dt_rank;
  if (o.input_size) c.img_size = *o.input_size;
  c.drop_rate = o.drop;
  c.drop_path_rate = o.drop_path;
  c.num_classes = data.classes;
  check(c);
  KRAIT_INPUT(c.final_pool_type != "all",
              "final_pool_type all gives one answer per token: it "
              "cannot be trained on one label per picture");
  return c;
}

constexpr int never = std::numeric_limits<int>::max();  // so many steps before one is recorded

Checkpoint checkpoint_of(const TrainOptions& o) {
  return o.resume.empty() ? Checkpoint{} : read_checkpoint(o.resume);
}

}  // namespace

Trainer::Trainer(const TrainOptions& options)
    : options_(options),
      train_set_(load_set(options, true)),
      test_set_(load_set(options, false)),
      resumed_(checkpoint_of(options)),
      config_(config_of(options, resumed_, train_set_)),
      ctx_(backend_of(options)),
      type_(type_of(options, ctx_.device().backend)),
      params_([this](ParamStore& s) {
        vim_weights(
            config_, s,
            options_.mixer_init == "published" ? MixerInit::published : MixerInit::repaired);
      }),
      train_data_(ctx_, train_set_),
      test_data_(ctx_, test_set_),
      channel_(ctx_),
      graph_(options.eager ? never : 3),
      evaluation_graphs_(options.eager ? never : 1),
      started_(std::chrono::steady_clock::now()) {
  ctx_.allow_tf32 = options_.precision == "tf32";
  for (const auto& [kernel, variant] : options_.kernels) ctx_.force(kernel, variant);
  const int64_t B = options_.batch_size;
  KRAIT_INPUT(options_.eval || train_data_.count() >= B, "--batch-size is ", B, "; ",
              train_set_.name, " has ", train_data_.count(), " training pictures");
  if (!options_.eval && !options_.output_dir.empty()) make_output_folder(options_.output_dir);
  steps_per_epoch_ = train_data_.count() / B;

  plain_ = {.size = config_.img_size,
            .crop_padding = 0,
            .flip = false,
            .mean = train_set_.mean,
            .stddev = train_set_.stddev};
  augment_ = plain_;
  augment_.crop_padding = options_.crop_padding;
  augment_.flip = options_.flip;
  augment_.smoothing = options_.smoothing;
  augment_.mix = options_.mixup > 0 || options_.cutmix > 0;
  mix_ = {.mixup = options_.mixup,
          .cutmix = options_.cutmix,
          .prob = options_.mixup_prob,
          .switch_prob = options_.mixup_switch_prob};
  schedule_ = {.lr = options_.unscale_lr ? options_.lr : options_.lr * B / 512,
               .warmup_lr = options_.warmup_lr,
               .min_lr = options_.min_lr,
               .epochs = double(options_.epochs),
               .warmup_epochs = double(options_.warmup_epochs),
               .constant = options_.sched == "constant"};
  adam_ = {.beta1 = options_.opt_betas[0],
           .beta2 = options_.opt_betas[1],
           .eps = options_.opt_eps,
           .weight_decay = options_.weight_decay,
           .clip_grad = options_.clip_grad};
  if (options_.model_ema) adam_.ema_decay = options_.model_ema_decay;

  params_.allocate(
      ctx_, type_,
      {.gradients = !options_.eval, .moments = !options_.eval, .ema = options_.model_ema});
  rope_ = rope_table(ctx_, config_, accum(type_));
  train_totals_ = ctx_.persistent({int64_t(sizeof(Totals))}, DType::u8);
  test_totals_ = ctx_.persistent({int64_t(sizeof(Totals))}, DType::u8);
  ctx_.state = channel_.state();
  now_.seed = options_.seed;
  params_.initialise(ctx_, options_.seed);
  if (!resumed_.path.empty()) load(resumed_.path);
  now_.model = options_.model_given || now_.model.empty() ? options_.model : now_.model;
  now_.config = to_json(config_);
  now_.options = to_json(options_);
  reserve_memory();
}

void Trainer::load(const std::string& path) {
  load_checkpoint(ctx_, resumed_, params_, !options_.eval);
  if (!resumed_.state) {
    KRAIT_INPUT(options_.eval, path, " holds only weights: it can be evaluated, not resumed");
    return;
  }
  now_ = *resumed_.state;
  if (const std::string changed = changed_options(options_, now_.options);
      !options_.eval && !changed.empty())
    fmt::print("changed since the checkpoint: {}\n", changed);
  resumed_.content = {};  // the file's bytes are no longer needed
}

// Finds out what a step needs and takes it from the device, re-making layers if it does not fit
// otherwise; says what would fit if it still does not.
void Trainer::reserve_memory() {
  auto need = [&](int64_t batch) {
    const int64_t keep = options_.batch_size;
    options_.batch_size = batch;
    const size_t bytes = ctx_.measure([&] {
      if (!options_.eval) {
        update(ctx_, forward_backward(ctx_));
        ctx_.training = false;
      } else {
        evaluate();
      }
    });
    options_.batch_size = keep;
    return bytes;
  };
  const size_t free = free_memory(ctx_.device().backend);
  ctx_.remake_layers = options_.remake == "on";
  size_t bytes = need(options_.batch_size);
  if (bytes > free && options_.remake == "auto" && !options_.eval) {
    ctx_.remake_layers = true;
    const size_t all = std::exchange(bytes, need(options_.batch_size));
    if (bytes <= free)
      fmt::print(
          "a step that keeps what it computes takes {}, {} are free: the layers are re-made in the "
          "backward pass (--remake)\n",
          human_bytes(all), human_bytes(free));
  }
  if (bytes > free) {
    int64_t fits = 0;
    for (int64_t step = options_.batch_size; step > 0; step /= 2)
      while (fits + step < options_.batch_size && need(fits + step) <= free) fits += step;
    if (mix_.mixup > 0 || mix_.cutmix > 0) fits -= fits % 2;
    throw OutOfMemory(
        cat("out of memory: a step of batch ", options_.batch_size, " asks for ", bytes, " bytes (",
            human_bytes(bytes), "); ", ctx_.persistent_bytes(),
            " bytes are in use for parameters and data, and ", human_bytes(free),
            " are free on the ", ctx_.device().name, "; ",
            fits > 0 ? cat("a batch of ", fits, " would fit (--batch-size ", fits, ")")
                     : std::string("not even a batch of 1 would fit")),
        bytes, ctx_.persistent_bytes());
  }
  size_t most = bytes;
  if (!options_.eval) most = std::max(most, ctx_.measure([&] { evaluate(); }));
  ctx_.reserve(most);
}

// ---- one step

Tensor Trainer::forward_backward(Context& ctx) {
  ctx.training = true;
  Tape tape;
  auto recording = ctx.record(tape);
  params_.watch(tape);  // gradients go to their own memory
  auto [images, targets] =
      train_data_.batch(ctx, options_.batch_size, augment_, true, type_);  // (B, 3, S, S), (B, C)
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
  train_data_.shuffle(ctx_, now_.seed, epoch);
  ctx_.upload(train_totals_, &now_.epoch_totals, sizeof(Totals));
  Progress progress(fmt::format("epoch {}/{}", epoch + 1, options_.epochs), steps_per_epoch_,
                    options_.print_every);
  int64_t at = now_.step % steps_per_epoch_;
  while (at < steps_per_epoch_) {
    const StepState state = state_of(now_.step);
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

// Evaluates, prints, logs and saves. Out of time, it is called within an epoch.
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
  const Evaluation e = evaluate();
  const std::optional<Evaluation> average = evaluate_average();
  const bool best = e.acc1 > now_.best_acc1 || now_.best_epoch < 0;
  if (best) {
    now_.best_acc1 = e.acc1;
    now_.best_epoch = epoch;
  }
  now_.seconds = seconds_before_ + elapsed();
  const double lr = state_of(now_.step - 1).lr, loss = t.loss / std::max<int64_t>(t.count, 1);
  const double speed = t.count / std::max(seconds, 1e-9);
  fmt::print(
      "epoch {}/{}  lr {:.2e}  train loss {:.4f}  test loss {:.4f}  Acc@1 {:.2f}  Acc@5 "
      "{:.2f}  best {:.2f}  {:.0f} images/s  {}  {}\n",
      epoch + 1, options_.epochs, lr, loss, e.loss, e.acc1, e.acc5, now_.best_acc1, speed,
      human_time(now_.seconds), human_bytes(ctx_.arena().extent()));
  if (average)
    fmt::print("  average of the weights: test loss {:.4f}  Acc@1 {:.2f}  Acc@5 {:.2f}\n",
               average->loss, average->acc1, average->acc5);
  std::fflush(stdout);
  if (options_.output_dir.empty()) return;
  save(best);
  if (!whole) return;  // the log has one line per epoch
  nlohmann::ordered_json line = {{"train_lr", lr},
                                 {"train_loss", loss},
                                 {"test_loss", e.loss},
                                 {"test_acc1", e.acc1},
                                 {"test_acc5", e.acc5},
                                 {"epoch", epoch},
                                 {"n_parameters", params_.count()},
                                 {"images_per_second", speed},
                                 {"seconds", now_.seconds}};
  if (average) {
    line["test_loss_ema"] = average->loss;
    line["test_acc1_ema"] = average->acc1;
    line["test_acc5_ema"] = average->acc5;
  }
  std::ofstream log(std::filesystem::path(options_.output_dir) / "log.txt", std::ios::app);
  log << line.dump() << "\n";
  KRAIT_INPUT(log.flush(), "cannot write ", options_.output_dir, "/log.txt");
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
  const int64_t most = std::min(options_.batch_size, test_data_.count());
  for (int64_t first = 0; first < test_data_.count(); first += most) {
    const int64_t B = std::min(most, test_data_.count() - first);  // the last batch may be smaller
    auto infer = [&] {
      auto [images, targets] = test_data_.batch(ctx_, B, plain_, false, type_);
      Tensor logits = vim(ctx_, config_, vim_weights(config_, params_), rope_, images);
      cross_entropy(ctx_, logits, targets, test_totals_.as<Totals>());
    };
    if (ctx_.measuring()) {
      infer();
      break;
    }
    StepState state;
    state.first = first;
    channel_.send(state);
    evaluation_graphs_.run(ctx_, {B, params_.using_ema()}, infer);
    channel_.exchange();  // waits for the batch before this one
  }
  channel_.drain();
  Totals t;
  ctx_.download(&t, test_totals_, sizeof t);
  ctx_.training = was_training;
  const double n = std::max<int64_t>(t.count, 1);
  return {t.loss / n, 100.0 * t.top1 / n, 100.0 * t.top5 / n};
}

std::optional<Evaluation> Trainer::evaluate_average() {
  if (!params_.flat(ParamStore::Role::ema)) return {};
  params_.use_ema(ctx_, true);
  const Evaluation e = evaluate();
  params_.use_ema(ctx_, false);
  return e;
}

void Trainer::print_summary() const {
  fmt::print("{} on {}: {} parameters, {} tokens; {}, {}; step memory {}{}\n", now_.model,
             train_set_.name, params_.count(), config_.tokens(), ctx_.device().name,
             type_ == DType::bf16 ? "bf16"
             : ctx_.allow_tf32    ? "tf32"
                                  : "fp32",
             human_bytes(ctx_.arena().size()),
             ctx_.remake_layers && !options_.eval ? ", layers re-made" : "");
}

}  // namespace krait
