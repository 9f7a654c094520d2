// From the options of the command line to those of the engine.
#include "apps/train_cifar/convert.h"

#include <algorithm>

namespace krait {
namespace {

std::array<double, 3> three(const std::vector<double>& v) {
  return {v.at(0), v.at(1), v.at(2)};
}

// What pixels are normalised with.
void set_normalisation(AugmentOptions& a, const TrainOptions& o, const Dataset& data) {
  a.mean = data.mean;
  a.stddev = data.stddev;
  if (o.normalize == "half") a.mean = a.stddev = {0.5, 0.5, 0.5};
  if (o.normalize == "imagenet") a.mean = {0.485, 0.456, 0.406}, a.stddev = {0.229, 0.224, 0.225};
  if (!o.mean.empty()) a.mean = three(o.mean);
  if (!o.stddev.empty()) a.stddev = three(o.stddev);
}

MixOptions mixing(const TrainOptions& o) {
  MixOptions m{.mixup = o.mixup,
               .cutmix = o.cutmix,
               .prob = o.mixup_prob,
               .switch_prob = o.mixup_switch_prob,
               .mode = mix_mode_named(o.mixup_mode)};
  if (!o.cutmix_minmax.empty()) m.cutmix_minmax = {o.cutmix_minmax[0], o.cutmix_minmax[1]};
  return m;
}

}  // namespace

AugmentOptions training_pictures(const TrainOptions& o, const Dataset& data, int size) {
  AugmentOptions a{.size = size};
  set_normalisation(a, o, data);
  a.crop = crop_named(crop_of(o));
  a.crop_padding = o.crop_padding;
  a.pad = pad_named(o.pad_mode);
  a.scale_low = o.scale.at(0), a.scale_high = o.scale.at(1);
  a.ratio_low = o.ratio.at(0), a.ratio_high = o.ratio.at(1);
  a.interpolation = interpolation_named(interpolation_of(o));
  a.flip = o.flip;
  a.auto_augment = o.aa == "none" ? "" : o.aa;
  a.three_augment = o.three_augment;
  a.color_jitter = o.color_jitter;
  a.erase = {.prob = o.reprob, .mode = erase_mode_named(o.remode), .count = o.recount};
  a.smoothing = o.smoothing;
  a.mixing = mixing(o);
  a.mix = a.mixing.any();
  check_augment(a);
  return a;
}

AugmentOptions test_pictures(const TrainOptions& o, const Dataset& data, int size) {
  AugmentOptions a{.size = size, .crop_padding = 0, .flip = false};
  set_normalisation(a, o, data);
  a.crop_ratio = eval_crop_ratio_of(o);
  if (a.crop_ratio < 1) a.crop = Crop::central;
  const Interpolation i = interpolation_named(interpolation_of(o));
  a.interpolation = i == Interpolation::random ? Interpolation::bicubic : i;
  check_augment(a);
  return a;
}

OptimizerOptions optimizer_options(const TrainOptions& o) {
  using Kind = OptimizerOptions::Kind;
  OptimizerOptions r{.kind = o.opt == "adamw"  ? Kind::adamw
                             : o.opt == "adam" ? Kind::adam
                                               : Kind::sgd,
                     .beta1 = o.opt_betas.at(0),
                     .beta2 = o.opt_betas.at(1),
                     .eps = o.opt_eps,
                     .momentum = o.momentum,
                     .nesterov = o.opt != "momentum",
                     .weight_decay = o.weight_decay,
                     .clip_grad = o.clip_grad};
  if (o.model_ema) r.ema_decay = o.model_ema_decay;
  r.ema_warmup = o.model_ema && o.model_ema_warmup;
  r.skip_not_finite = o.if_continue_inf;
  return r;
}

Schedule schedule_of(const TrainOptions& o) {
  using Kind = Schedule::Kind;
  const std::pair<const char*, Kind> kinds[] = {{"cosine", Kind::cosine},
                                                {"linear", Kind::linear},
                                                {"tanh", Kind::tanh},
                                                {"step", Kind::step},
                                                {"constant", Kind::constant}};
  const auto at = std::find_if(std::begin(kinds), std::end(kinds),
                               [&](const auto& k) { return o.sched == k.first; });
  KRAIT_INPUT(at != std::end(kinds), "--sched is '", o.sched, "', which there is not");
  const double batch = static_cast<double>(o.batch_size * o.world_size);
  return {.lr = o.unscale_lr ? o.lr : o.lr * batch / 512,
          .warmup_lr = o.warmup_lr,
          .min_lr = o.min_lr,
          .epochs = static_cast<double>(o.epochs),
          .warmup_epochs = o.warmup_epochs,
          .kind = at->second,
          .decay_epochs = o.decay_epochs,
          .decay_rate = o.decay_rate};
}

}  // namespace krait
