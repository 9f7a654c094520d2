// One model at one batch size, its step, and how the step is timed.
#include "tools/step_bench.h"

#include <random>

#include "engine/data/dataset.h"
#include "engine/optimizer.h"
#include "engine/step_channel.h"
#include "engine/step_graph.h"
#include "models/model.h"

namespace krait {
namespace {

// Noise: no time depends on what is in a picture, but a GPU draws less power for zeros and is
// faster then.
Dataset noise(int64_t count, const ImageModel& model) {
  const int C = model.channels(), S = model.img_size();
  Dataset d{.name = "noise",
            .classes = model.num_classes(),
            .channels = C,
            .height = S,
            .width = S,
            .class_names = {},
            .images = std::vector<uint8_t>(count * C * S * S),
            .labels = std::vector<int32_t>(count),
            .mean = {0.5, 0.5, 0.5},
            .stddev = {0.25, 0.25, 0.25}};
  std::mt19937 random(1);
  for (uint8_t& v : d.images) v = static_cast<uint8_t>(random() >> 24);
  for (int64_t i = 0; i < count; ++i) d.labels[i] = static_cast<int32_t>(i % d.classes);
  return d;
}

StepSetup completed(StepSetup s) {
  if (s.precision == "auto") s.precision = s.backend == Backend::cuda ? "bf16" : "fp32";
  KRAIT_INPUT(s.precision != "tf32" || s.backend == Backend::cuda,
              "--precision tf32 needs a GPU; on a CPU it is fp32 or bf16");
  if (!s.image_size) s.image_size = ImageModel(model_config(s.model)).img_size();
  return s;
}

ImageModel model_of(const StepSetup& s) {
  ModelConfig config = model_config(s.model);
  std::visit([&](auto& c) { c.img_size = s.image_size; }, config);
  return ImageModel(std::move(config));
}

class ModelStep {
 public:
  explicit ModelStep(const StepSetup& setup)
      : setup_(setup),
        model_(model_of(setup)),
        ctx_(setup.backend),
        type_(setup.precision == "bf16" ? DType::bf16 : DType::f32),
        params_([&](ParamStore& s) { model_.declare(s); }),
        data_(ctx_, noise(setup.batch, model_)),
        channel_(ctx_) {
    const bool training = setup.mode != StepMode::infer;
    ctx_.remake_layers = setup.mode == StepMode::remake;
    ctx_.allow_tf32 = setup.precision == "tf32";
    ctx_.two_streams = setup.two_streams;
    for (const auto& [kernel, variant] : setup.kernels) ctx_.force(kernel, variant);
    params_.allocate(ctx_, type_, {.gradients = training, .moments = training});
    params_.initialise(ctx_, 0);
    model_.make_tables(ctx_, type_);
    totals_ = ctx_.persistent({int64_t(sizeof(Totals))}, DType::u8);
    augment_.size = model_.img_size();
    augment_.mean = augment_.stddev = {0.5, 0.5, 0.5};
    augment_.smoothing = 0.1;
    adam_.clip_grad = 1.0;
    StepState state;
    set_step(state, adam_, 0, 1e-4);
    channel_.send(state);
    ctx_.state = channel_.state();
    if (!training)
      images_ = ctx_.persistent(
          {setup.batch, model_.channels(), model_.img_size(), model_.img_size()}, type_);
    size_t most = ctx_.measure([&] { run(); });
    if (images_) most = std::max(most, ctx_.measure([&] { fill_images(); }));
    ctx_.reserve(most);
    if (images_) fill_images();
  }

  void run() { setup_.mode == StepMode::infer ? infer() : train(); }

  Timing time() {
    Stopwatch watch(setup_.backend);
    auto steps = [&](int64_t count) {
      return watch.seconds(ctx_.stream(), [&] {
        for (int64_t i = 0; i < count; ++i) graph_.run(ctx_, [this] { run(); });
      }) / static_cast<double>(count);
    };
    // Warm-up. On the GPU: plans, the recording, and its first replay.
    steps(setup_.backend == Backend::cuda ? eager_steps + 2 : 1);
    const double first = steps(1);
    const auto count = static_cast<int64_t>(std::clamp(10e-3 / first, 1.0, 100.0));
    return gather(count, [&] { return steps(count); }, {.seconds = 0.5});
  }

  void share_out(MeasuredStep& result) {
    LaunchTimer timer(ctx_);
    run();  // at its own pace, to see how long the host takes
    ctx_.wait();
    const double start = seconds_now();
    run();
    const double queueing = setup_.backend == Backend::cuda ? seconds_now() - start : 0;
    ctx_.wait();
    const int steps = result.time.median > 1 ? 1 : 5;
    for (int i = 0; i < steps; ++i) timer.run([this] { run(); }, 3 * queueing);
    result.kernels = timer.rows();
    result.empty_launch = timer.empty_launch();
  }

  void check_result() {
    if (setup_.mode == StepMode::infer) return;
    channel_.exchange();
    const auto arrived = channel_.drain();
    KRAIT_CHECK(arrived && !arrived->second.halted,
                "the gradient is not finite: what was measured is not a training step");
  }

  int tokens() const { return model_.tokens(); }
  size_t bytes() const { return ctx_.persistent_bytes() + ctx_.arena().extent(); }

 private:
  Tensor forward_backward() {  // -> loss (1)
    ctx_.training = true;
    Tape tape;
    auto recording = ctx_.record(tape);
    params_.watch(tape);
    auto [images, targets] = data_.batch(ctx_, setup_.batch, augment_, true, type_);
    Tensor logits = model_.logits(ctx_, params_, images);
    Tensor loss = cross_entropy(ctx_, logits, targets, totals_.as<Totals>());
    tape.backward(ctx_, loss);
    return loss;
  }
  void train() {
    copy(ctx_, forward_backward(), channel_.loss());
    optimizer_step(ctx_, params_, adam_, channel_.result());
  }
  void infer() { model_.logits(ctx_, params_, images_); }
  void fill_images() {
    copy(ctx_, data_.batch(ctx_, setup_.batch, augment_, true, type_).images, images_);
  }

  static constexpr int eager_steps = 3;
  StepSetup setup_;
  ImageModel model_;
  Context ctx_;
  DType type_;
  ParamStore params_;
  DeviceDataset data_;
  StepChannel channel_;
  StepGraph graph_{eager_steps};
  AugmentOptions augment_;
  OptimizerOptions adam_;
  Tensor totals_, images_;
};

}  // namespace

double MeasuredStep::kernel_seconds() const {
  double sum = 0;
  for (const KernelTime& k : kernels) sum += k.seconds;
  return sum;
}

MeasuredStep measure_step(const StepSetup& setup) {
  MeasuredStep result;
  result.setup = completed(setup);
  ModelStep step(result.setup);
  result.tokens = step.tokens();
  result.time = step.time();
  result.bytes = step.bytes();
  step.share_out(result);
  step.check_result();
  return result;
}

}  // namespace krait
