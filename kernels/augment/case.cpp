// Sizes at which augment_pictures and make_batch are verified and measured.
#include "kernels/common/case.h"

#include "kernels/augment/augment.h"
#include "kernels/augment/pictures.h"

namespace krait {
namespace {

struct Size {
  int64_t B;
  int channels, H, W, S;
};
std::string text_of(const Size& z) {
  return cat("B=", z.B, " C=", z.channels, " ", z.H, "x", z.W, " S=", z.S);
}
StepState state_at_step(int32_t S) {
  return {.seed = 0x123456789ABCDEFu,
          .step = 77,
          .first = 3,
          .mix = Mix::none,
          .lambda = 0.3f,
          .box_x0 = S / 4,
          .box_x1 = S / 2 + 1,
          .box_y0 = 0,
          .box_y1 = S / 3};
}

// ---- augment_pictures

CropRules crop_rules(Crop crop, Interpolation interpolation) {
  return {.crop = crop,
          .padding = 4,
          .pad = Pad::mean,
          .scale_low = 0.08,
          .scale_high = 1,
          .ratio_low = 0.75,
          .ratio_high = 4.0 / 3,
          .crop_ratio = 0.875,
          .interpolation = interpolation,
          .flip = true};
}
OperationRules no_operations() {
  OperationRules r{};
  r.limit = 10;
  r.translate = 0.45;
  return r;
}
OperationRules all_operations() {  // RandAugment with every rule there is
  OperationRules r = no_operations();
  static constexpr Rule rules[] = {Rule::auto_contrast,
                                   Rule::equalize,
                                   Rule::invert,
                                   Rule::rotate,
                                   Rule::posterize,
                                   Rule::solarize_increasing,
                                   Rule::solarize_add,
                                   Rule::color_increasing,
                                   Rule::contrast_increasing,
                                   Rule::brightness_increasing,
                                   Rule::sharpness,
                                   Rule::shear_x,
                                   Rule::shear_y,
                                   Rule::translate_x,
                                   Rule::translate_y};
  for (Rule rule : rules) r.choice[r.choices++] = rule;
  r.layers = 2;
  r.probability = 0.5;
  r.level = 9;
  r.deviation = 0.5;
  return r;
}
OperationRules three_augment() {
  OperationRules r = no_operations();
  r.three_augment = true;
  r.color_jitter = 0.3;
  return r;
}

void add_pictures(CaseList& list, const char* what, Size z, const CropRules& crop,
                  const OperationRules& operations, bool small) {
  const double bytes = static_cast<double>(z.B * z.channels);
  const CaseInfo info{.size = cat(text_of(z), " ", what),
                      .dtype = DType::f32,
                      .cost = {bytes * (z.H * z.W + z.S * z.S), 0},
                      .small = small};
  list.push_back(make_case<AugmentPictures>(info, [=](CaseMemory& m) {
    const int64_t N = z.B + 5;  // pictures; the batch starts at the fourth
    AugmentPictures p{.B = z.B,
                      .channels = z.channels,
                      .H = z.H,
                      .W = z.W,
                      .S = z.S,
                      .train = crop.crop != Crop::central,
                      .crop = crop,
                      .operations = operations,
                      .fill = {125, 122, 114},
                      .source = nullptr,
                      .order = nullptr,
                      .state = nullptr,
                      .pictures = nullptr};
    p.source = static_cast<uint8_t*>(m.in_u8("source", N * z.channels * z.H * z.W));
    p.order = static_cast<int32_t*>(m.in_i32("order", N, static_cast<int32_t>(N)));
    p.state = m.raw(state_at_step(z.S));
    p.pictures = static_cast<uint8_t*>(m.out_u8("pictures", z.B * z.channels * z.S * z.S));
    return p;
  }));
}

void add_pictures_cases(CaseList& list) {
  const OperationRules none = no_operations();
  const auto linear = Interpolation::bilinear, cubic = Interpolation::bicubic,
             either = Interpolation::random;
  add_pictures(list, "crop", {7, 3, 32, 32, 32}, crop_rules(Crop::padded, linear), none, true);
  add_pictures(list, "crop", {5, 1, 9, 7, 9}, crop_rules(Crop::padded, linear), none, true);
  add_pictures(list, "none", {4, 2, 19, 32, 24}, crop_rules(Crop::none, cubic), none, true);
  add_pictures(list, "resized", {9, 3, 32, 32, 32}, crop_rules(Crop::resized, either), none, true);
  add_pictures(list, "resized", {5, 3, 32, 32, 224}, crop_rules(Crop::resized, cubic), none, true);
  add_pictures(list, "resized", {5, 3, 40, 33, 12}, crop_rules(Crop::resized, cubic), none, true);
  add_pictures(list, "simple", {5, 3, 32, 32, 45}, crop_rules(Crop::simple, cubic), none, true);
  add_pictures(list, "published", {4, 3, 32, 32, 40}, crop_rules(Crop::published, linear), none,
               true);
  add_pictures(list, "central", {4, 3, 32, 48, 28}, crop_rules(Crop::central, cubic), none, true);
  add_pictures(list, "rand", {90, 3, 32, 32, 32}, crop_rules(Crop::padded, either),
               all_operations(), true);
  add_pictures(list, "rand", {9, 3, 32, 32, 100}, crop_rules(Crop::resized, cubic),
               all_operations(), true);
  add_pictures(list, "three", {20, 3, 32, 32, 33}, crop_rules(Crop::simple, cubic), three_augment(),
               true);
  const Size whole{512, 3, 32, 32, 32}, large{128, 3, 32, 32, 224};
  add_pictures(list, "crop", whole, crop_rules(Crop::padded, linear), none, false);
  add_pictures(list, "resized", whole, crop_rules(Crop::resized, cubic), none, false);
  add_pictures(list, "rand", whole, crop_rules(Crop::padded, cubic), all_operations(), false);
  add_pictures(list, "three", whole, crop_rules(Crop::simple, cubic), three_augment(), false);
  add_pictures(list, "published", large, crop_rules(Crop::published, linear), none, false);
  add_pictures(list, "rand", large, crop_rules(Crop::resized, cubic), all_operations(), false);
}

// ---- make_batch

struct Making {
  bool train;
  Mix mix;
  MixMode mode;
  EraseRules erase;
};

void add_batch(CaseList& list, DType t, const char* what, Size z, int classes, const Making& how,
               bool small) {
  const CaseInfo info{
      .size = cat(text_of(z), " ", what),
      .dtype = t,
      .cost = {static_cast<double>(z.B * z.channels * z.S * z.S) *
                   ((how.mix == Mix::none ? 1.0 : 2.0) + static_cast<double>(size_of(t))),
               0},
      .small = small};
  list.push_back(make_case<MakeBatch>(info, [=](CaseMemory& m) {
    const int64_t N = z.B + 5;
    StepState state = state_at_step(z.S);
    state.mix = how.mix;
    MakeBatch p{.dtype = m.dtype(),
                .B = z.B,
                .channels = z.channels,
                .S = z.S,
                .classes = classes,
                .train = how.train,
                .mix = how.mix != Mix::none,
                .mixing = {how.mode, 0.8, 1.0, 0.9, 0.5, 0, 0},
                .erase = how.erase,
                .mean = {0.49, 0.48, 0.45},
                .stddev = {0.25, 0.24, 0.26},
                .smoothing = 0.1,
                .pictures = nullptr,
                .labels = nullptr,
                .order = nullptr,
                .state = nullptr,
                .images = nullptr,
                .targets = nullptr};
    p.pictures = static_cast<uint8_t*>(m.in_u8("pictures", z.B * z.channels * z.S * z.S));
    p.labels = static_cast<int32_t*>(m.in_i32("labels", N, classes));
    p.order = static_cast<int32_t*>(m.in_i32("order", N, static_cast<int32_t>(N)));
    p.state = m.raw(state);
    p.images = m.out("images", z.B * z.channels * z.S * z.S);
    p.targets = m.out_accum("targets", z.B * classes);
    return p;
  }));
}

void add_batch_cases(CaseList& list) {
  const Size usual{8, 3, 32, 32, 32}, odd{5, 1, 9, 9, 9}, whole{512, 3, 32, 32, 32};
  const EraseRules no{0, EraseMode::pixel, 1};
  const auto batch = MixMode::batch;
  for (DType t : {DType::f32, DType::bf16}) {
    add_batch(list, t, "eval", usual, 10, {false, Mix::mixup, batch, no}, true);
    add_batch(list, t, "plain", odd, 300, {true, Mix::none, batch, no}, true);
    add_batch(list, t, "mixup", usual, 10, {true, Mix::mixup, batch, no}, true);
    add_batch(list, t, "cutmix", usual, 10, {true, Mix::cutmix, batch, no}, true);
    add_batch(list, t, "elem", odd, 7, {true, Mix::mixup, MixMode::elem, no}, true);
    add_batch(list, t, "pair", usual, 10, {true, Mix::mixup, MixMode::pair, no}, true);
    for (EraseMode mode : {EraseMode::pixel, EraseMode::rand, EraseMode::constant})
      add_batch(list, t, "mixup erase", usual, 10, {true, Mix::mixup, batch, {0.7, mode, 3}}, true);
    add_batch(list, t, "mixup", whole, 10, {true, Mix::mixup, batch, no}, false);
    add_batch(list, t, "mixup erase", whole, 10,
              {true, Mix::mixup, batch, {0.25, EraseMode::pixel, 1}}, false);
  }
}

}  // namespace

void add_augment_cases(CaseList& list) {
  add_pictures_cases(list);
  add_batch_cases(list);
}

}  // namespace krait
