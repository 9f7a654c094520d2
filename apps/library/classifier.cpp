// Loads a model for inference, and runs it.
#include "apps/library/classifier.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "apps/train_cifar/convert.h"
#include "engine/data/image_folder.h"
#include "models/identify.h"

namespace krait {
namespace {

void one_of(const char* what, const std::string& value, std::initializer_list<const char*> all) {
  std::string names;
  for (const char* name : all) {
    if (value == name) return;
    names += cat(names.empty() ? "" : ", ", name);
  }
  throw InputError(cat("the ", what, " is '", value, "'; there are ", names));
}

Backend backend_of(const ClassifierOptions& o) {
  one_of("device", o.device, {"auto", "cpu", "cuda"});
  if (o.device == "auto") return available(Backend::cuda) ? Backend::cuda : Backend::cpu;
  return o.device == "cuda" ? Backend::cuda : Backend::cpu;
}

DType type_of(const ClassifierOptions& o, Backend backend) {
  one_of("precision", o.precision, {"auto", "bf16", "fp32"});
  return o.precision == "bf16" || (o.precision == "auto" && backend == Backend::cuda) ? DType::bf16
                                                                                      : DType::f32;
}

// The training's options, as far as they say how a test picture is shown. A file that is not of
// train_cifar is taken for one of an ImageNet model.
TrainOptions options_of(const Checkpoint& from) {
  TrainOptions o;
  o.data_set = "IMAGE_FOLDER";
  if (!from.state) return o;
  const auto saved = nlohmann::json::parse(from.state->options, nullptr, false);
  if (saved.is_object() && saved.contains("data-set") && saved["data-set"].is_string())
    o.data_set = saved["data-set"];
  try {
    take_over_test_pictures(o, from.state->options);
  } catch (const nlohmann::json::exception&) {
    throw InputError(cat(from.path, ": is damaged: the training's options cannot be read"));
  }
  return o;
}

// How the pictures were prepared, for a file from before checkpoints said it.
TestPictures deduce_pictures(const Checkpoint& from, int size, int classes) {
  const TrainOptions o = options_of(from);
  Dataset data;
  data.mean = {0.485, 0.456, 0.406};  // ImageNet's
  data.stddev = {0.229, 0.224, 0.225};
  if (o.data_set == "CIFAR10") data = describe_cifar10();
  if (o.data_set == "CIFAR100") data = describe_cifar100();
  if (o.data_set == "SYNTHETIC") data = synthetic(false, 0);
  TestPictures p{data.class_names, test_pictures(o, data, size)};
  if (std::ssize(p.class_names) != classes) {
    p.class_names.clear();
    for (int c = 0; c < classes; ++c) p.class_names.push_back(cat(c));
  }
  return p;
}

}  // namespace

// The model and its name.
void Classifier::take_model(const Checkpoint& from) {
  CheckpointModel m = model_of(from);
  name_ = std::move(m.name);
  model_ = ImageModel(std::move(m.config));
  KRAIT_INPUT(model_.channels() == 3, from.path, ": the model takes pictures of ",
              model_.channels(), " channels, not 3");
  KRAIT_INPUT(!model_.vim() || model_.vim()->final_pool_type != "all", from.path,
              ": the model answers for each token, not for the picture (final_pool_type all)");
}

Classifier::Classifier(const std::string& path, const ClassifierOptions& o)
    : batch_(o.batch), ctx_(backend_of(o)), type_(type_of(o, ctx_.device().backend)) {
  one_of("choice of weights", o.weights, {"auto", "model", "ema"});
  KRAIT_INPUT(1 <= o.batch && o.batch <= 65536, "a batch of ", o.batch, " pictures");
  const Checkpoint from = read_checkpoint(path);
  take_model(from);
  const auto pictures = from.content.metadata.find("pictures");  // converted files have it too
  pictures_ = pictures != from.content.metadata.end()
                  ? test_pictures_from_json(pictures->second, path)
                  : deduce_pictures(from, model_.img_size(), model_.num_classes());
  KRAIT_INPUT(o.class_names.empty() || std::ssize(o.class_names) == model_.num_classes(),
              o.class_names.size(), " class names were given, the model knows ",
              model_.num_classes(), " classes");
  if (!o.class_names.empty()) pictures_.class_names = o.class_names;
  KRAIT_INPUT(classes() == model_.num_classes() && input_size() == model_.img_size(), path,
              ": is damaged: ", classes(), " class names and pictures of side ", input_size(),
              " for a model with ", model_.num_classes(), " classes and side ", model_.img_size());
  average_ = o.weights == "ema" || (o.weights == "auto" && from.state && from.has_ema() &&
                                    saved_option(from.state->options, "result") == "\"ema\"");
  KRAIT_INPUT(!average_ || from.has_ema(), path, ": holds no average of the weights");

  params_ = std::make_unique<ParamStore>([this](ParamStore& s) { model_.declare(s); });
  params_->allocate(ctx_, type_, {.ema = average_});
  load_checkpoint(ctx_, from, *params_, false);
  if (average_) params_->use_ema(ctx_, true);
  model_.make_tables(ctx_, type_);

  rest_ = pictures_.how;
  rest_.crop = Crop::none;
  std::vector<int32_t> own_slot(batch_);
  std::iota(own_slot.begin(), own_slot.end(), 0);
  staging_ = std::make_unique<DeviceDataset>(ctx_, classes(), batch_, input_size(), own_slot);
  state_ = ctx_.persistent({int64_t(sizeof(StepState))}, DType::u8);
  totals_ = ctx_.persistent({int64_t(sizeof(Totals))}, DType::u8);
  predictions_ = ctx_.persistent({batch_ * int64_t(sizeof(Prediction))}, DType::u8);
  logits_ = ctx_.persistent({batch_, classes()}, accum(type_));
  const StepState state;
  ctx_.upload(state_, &state, sizeof state);
  ctx_.state = state_.as<StepState>();
  ctx_.reserve(ctx_.measure([&] { infer(batch_); }));
}

std::string Classifier::summary() const {
  return cat(name_, average_ ? " (average of the weights)" : "", ": ", classes(), " classes, ",
             params_->count(), " parameters, pictures of ", input_size(), " x ", input_size(), "; ",
             ctx_.device().name, ", ", type_ == DType::bf16 ? "bf16" : "fp32");
}

void Classifier::prepare(const Picture& picture, uint8_t* out) const {
  const std::string fault = size_fault(picture.height, picture.width);
  KRAIT_INPUT(fault.empty(), fault);
  crop_picture(picture, pictures_.how, false, {}, 0, out);
}

// As Trainer::evaluate does it.
void Classifier::infer(int64_t B) {
  auto [images, targets] = staging_->batch(ctx_, B, rest_, false, type_);
  const Tensor logits = model_.logits(ctx_, *params_, images);
  copy(ctx_, logits, Tensor(logits_.memory(), logits.shape(), logits.dtype()));
  cross_entropy(ctx_, logits, targets, totals_.as<Totals>(), predictions_.as<Prediction>());
}

void Classifier::classify(const uint8_t* samples, int64_t B, float* probabilities) {
  KRAIT_CHECK(0 < B && B <= batch_, "a batch of ", B, " pictures, the largest is ", batch_);
  ctx_.upload(staging_->pictures(), samples, B * sample_bytes());
  if (B == batch_)
    graph_.run(ctx_, [&] { infer(B); });
  else
    infer(B);
  const int64_t C = classes();
  std::vector<Prediction> first(B);
  ctx_.download(probabilities, logits_, B * C * sizeof(float));
  ctx_.download(first.data(), predictions_, B * sizeof(Prediction));
  // softmax(x)[c] = softmax(x)[k] exp(x[c] - x[k]), k being the most probable class.
  for (int64_t b = 0; b < B; ++b) {
    float* row = probabilities + b * C;
    const float most = first[b].label < 0 ? NAN : row[first[b].label];
    for (int64_t c = 0; c < C; ++c) row[c] = first[b].probability * std::exp(row[c] - most);
  }
}

}  // namespace krait
