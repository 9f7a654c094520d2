// Sizes at which make_batch is verified and measured.
#include "kernels/common/case.h"

#include "kernels/augment/augment.h"

namespace krait {
namespace {

struct Size {
  int64_t B;
  int channels, H, W, S, classes;
};

void add(CaseList& list, DType t, Size z, bool train, Mix mix, bool small) {
  static constexpr const char* mixes[] = {"", " mixup", " cutmix"};
  const CaseInfo info{
      .size = cat("B=", z.B, " C=", z.channels, " ", z.H, "x", z.W, " S=", z.S,
                  train ? " train" : " eval", mixes[static_cast<int>(mix)]),
      .dtype = t,
      .cost = {static_cast<double>(z.B * z.channels) *
                   ((mix == Mix::none ? 1.0 : 2.0) * z.H * z.W +
                    static_cast<double>(z.S) * z.S * static_cast<double>(size_of(t))),
               0},
      .small = small};
  list.push_back(make_case<MakeBatch>(info, [=](CaseMemory& m) {
    const int64_t N = z.B + 5;  // pictures; the batch starts at the fourth
    const auto S = static_cast<int32_t>(z.S);
    const StepState state{.seed = 0x123456789ABCDEFu,
                          .step = 77,
                          .first = 3,
                          .mix = mix,
                          .lambda = 0.3f,
                          .box_x0 = S / 4,
                          .box_x1 = S / 2 + 1,
                          .box_y0 = 0,
                          .box_y1 = S / 3};
    MakeBatch p{.dtype = m.dtype(),
                .B = z.B,
                .channels = z.channels,
                .H = z.H,
                .W = z.W,
                .S = z.S,
                .classes = z.classes,
                .train = train,
                .crop_padding = 4,
                .flip = true,
                .mix = mix != Mix::none,
                .mean = {0.49, 0.48, 0.45},
                .stddev = {0.25, 0.24, 0.26},
                .smoothing = 0.1,
                .pictures = nullptr,
                .labels = nullptr,
                .order = nullptr,
                .state = nullptr,
                .images = nullptr,
                .targets = nullptr};
    p.pictures = static_cast<uint8_t*>(m.in_u8("pictures", N * z.channels * z.H * z.W));
    p.labels = static_cast<int32_t*>(m.in_i32("labels", N, z.classes));
    p.order = static_cast<int32_t*>(m.in_i32("order", N, static_cast<int32_t>(N)));
    p.state = m.raw(state);
    p.images = m.out("images", z.B * z.channels * z.S * z.S);
    p.targets = m.out_accum("targets", z.B * z.classes);
    return p;
  }));
}

}  // namespace

void add_augment_cases(CaseList& list) {
  for (DType t : {DType::f32, DType::bf16}) {
    add(list, t, {7, 3, 32, 32, 32, 10}, false, Mix::none, true);
    for (Mix mix : {Mix::none, Mix::mixup, Mix::cutmix})
      add(list, t, {6, 3, 32, 32, 32, 10}, true, mix, true);
    add(list, t, {5, 1, 9, 7, 9, 3}, true, Mix::none, true);
    add(list, t, {4, 3, 32, 32, 45, 10}, true, Mix::mixup, true);
    add(list, t, {4, 2, 19, 32, 24, 100}, true, Mix::cutmix, true);
    add(list, t, {3, 3, 32, 32, 1, 300}, false, Mix::none, true);
    add(list, t, {512, 3, 32, 32, 32, 10}, true, Mix::mixup, false);
    add(list, t, {64, 3, 32, 32, 224, 10}, true, Mix::none, false);
  }
}

}  // namespace krait
