// Reads checkpoint and picture; the picture goes the way that an evaluation sends it.
#include "tools/walkthrough/subject.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "engine/checkpoint.h"
#include "engine/data/image_folder.h"
#include "engine/data/test_pictures.h"
#include "models/identify.h"

namespace krait::walk {
namespace {

// The model, its registered name, and how its pictures are prepared.
struct Model {
  VimConfig config;
  std::string name;
  TestPictures pictures;
};

Model vim_of(const Checkpoint& from) {
  CheckpointModel named = model_of(from);
  Model m;
  m.name = std::move(named.name);
  const VimConfig* vim = std::get_if<VimConfig>(&named.config);
  KRAIT_INPUT(vim, from.path, ": is a ", architecture_of(named.config),
              "; the walk-through shows Vision Mamba");
  m.config = *vim;
  const auto pictures = from.content.metadata.find("pictures");  // converted files have it too
  if (pictures != from.content.metadata.end()) {
    m.pictures = test_pictures_from_json(pictures->second, from.path);
    KRAIT_INPUT(std::ssize(m.pictures.class_names) == vim->num_classes &&
                    m.pictures.how.size == vim->img_size,
                from.path, ": is damaged: its pictures are not those of its model");
    return m;
  }
  // Nothing says how pictures were prepared: as CIFAR's where the model takes their size, else as
  // ImageNet's.
  Dataset data;
  data.mean = {0.485, 0.456, 0.406};
  data.stddev = {0.229, 0.224, 0.225};
  if (vim->img_size == 32)
    data = vim->num_classes == 100 ? describe_cifar100() : describe_cifar10();
  m.pictures.how.size = vim->img_size;
  m.pictures.how.crop = vim->img_size == 32 ? Crop::none : Crop::central;
  m.pictures.how.mean = data.mean, m.pictures.how.stddev = data.stddev;
  m.pictures.class_names = data.class_names;
  if (std::ssize(data.class_names) != vim->num_classes) {
    m.pictures.class_names.clear();
    for (int c = 0; c < vim->num_classes; ++c) m.pictures.class_names.push_back(cat(c));
  }
  return m;
}

// A picture and its class, -1 if that is not known.
Picture picture_of(const Choice& choice, const Model& m, Subject& s, int& label) {
  Picture p;
  label = -1;
  if (!choice.image.empty()) {
    check_can_read_pictures();
    const std::string fault = read_picture(choice.image, p);
    KRAIT_INPUT(fault.empty(), choice.image, " ", fault);
    s.picture = choice.image;
    return p;
  }
  KRAIT_INPUT(choice.index >= 0, "--index is ", choice.index);
  const bool drawn = choice.data_path.empty();
  KRAIT_INPUT(!drawn || choice.index < 10000, "--index is ", choice.index,
              ", the test set has 10000 pictures");
  const Dataset data = drawn                         ? synthetic(false, choice.index + 1)
                       : m.config.num_classes == 100 ? load_cifar100(choice.data_path, false)
                                                     : load_cifar10(choice.data_path, false);
  KRAIT_INPUT(choice.index < data.count(), "--index is ", choice.index, ", the test set has ",
              data.count(), " pictures");
  s.picture = cat("test picture ", choice.index, " of ", data.name);
  const int64_t n = int64_t{data.height} * data.width;
  p.height = data.height, p.width = data.width;
  p.pixels.resize(3 * n);
  for (int64_t i = 0; i < n; ++i)
    for (int c = 0; c < 3; ++c) p.pixels[3 * i + c] = data.images[(choice.index * 3 + c) * n + i];
  if (data.class_names == s.class_names) {
    label = data.labels[choice.index];
    s.target_from = "its label";
  }
  return p;
}

int class_of(const std::string& label, const std::vector<std::string>& names) {
  const auto at = std::find(names.begin(), names.end(), label);
  if (at != names.end()) return static_cast<int>(at - names.begin());
  int c = -1;
  const auto [end, error] = std::from_chars(label.data(), label.data() + label.size(), c);
  KRAIT_INPUT(
      error == std::errc() && end == label.data() + label.size() && 0 <= c && c < std::ssize(names),
      "--label is '", label, "'; the classes are ", names.front(), " to ", names.back(),
      ", or 0 to ", names.size() - 1);
  return c;
}

}  // namespace

Subject load_subject(const Choice& choice) {
  const Checkpoint from = read_checkpoint(choice.checkpoint);
  const Model m = vim_of(from);
  check_can_show(m.config, choice.layer);
  const bool average = choice.weights == "ema";
  KRAIT_INPUT(!average || from.has_ema(), from.path, ": holds no average of the weights");
  Subject s;
  s.model = m.name;
  s.class_names = m.pictures.class_names;
  s.mean = m.pictures.how.mean, s.stddev = m.pictures.how.stddev;
  int label = -1;
  const Picture picture = picture_of(choice, m, s, label);
  const std::string fault = size_fault(picture.height, picture.width);
  KRAIT_INPUT(fault.empty(), s.picture, " ", fault);
  const int S = m.config.img_size;
  s.pixels.resize(size_t{3} * S * S);
  crop_picture(picture, m.pictures.how, false, {}, 0, s.pixels.data());
  if (!choice.label.empty())
    label = class_of(choice.label, s.class_names), s.target_from = "--label";
  if (label < 0) s.target_from = "the model's answer";

  Context ctx(Backend::cpu);
  ParamStore store([&](ParamStore& p) { vim_weights(m.config, p); });
  store.allocate(ctx, DType::f32, {.gradients = true, .ema = average});
  load_checkpoint(ctx, from, store, false);
  if (average) store.use_ema(ctx, true);
  s.parameters = store.count();

  // Normalised by the engine, as in an evaluation.
  DeviceDataset staging(ctx, m.config.num_classes, 1, S, {0});
  ctx.upload(staging.pictures(), s.pixels.data(), s.pixels.size());
  const Tensor state = ctx.persistent({int64_t(sizeof(StepState))}, DType::u8);
  const StepState step;
  ctx.upload(state, &step, sizeof step);
  ctx.state = state.as<StepState>();
  AugmentOptions rest = m.pictures.how;
  rest.crop = Crop::none;  // it is done
  Vector image;
  auto normalise = [&] {
    image = ctx.values(staging.batch(ctx, 1, rest, false, DType::f32).images);
  };
  ctx.reserve(ctx.measure(normalise));
  normalise();
  using Role = ParamStore::Role;
  s.trace = trace_model(ctx, m.config, store, average ? Role::ema : Role::master, image, label,
                        choice.layer);
  return s;
}

}  // namespace krait::walk
