// A data set in device memory, and how batches are taken from it.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/data/mix.h"
#include "engine/data/policy.h"
#include "kernels/augment/augment.h"
#include "kernels/common/random.h"

namespace krait {

DeviceDataset::DeviceDataset(Context& ctx, const Dataset& data)
    : count_(data.count()), classes_(data.classes), height_(data.height), width_(data.width) {
  const Shape shape{count_, data.channels, height_, width_};
  KRAIT_CHECK(std::ssize(data.images) == shape.count(), data.name, ": ", data.images.size(),
              " bytes of pictures for ", shape);
  images_ = ctx.persistent(shape, DType::u8);
  labels_ = ctx.persistent({count_}, DType::i32);
  order_ = ctx.persistent({count_}, DType::i32);
  ctx.upload(images_, data.images.data(), data.images.size());
  ctx.upload(labels_, data.labels.data(), data.labels.size() * sizeof(int32_t));
  in_order(ctx);
}

DeviceDataset::DeviceDataset(Context& ctx, int classes, int64_t slots, int side,
                             const std::vector<int32_t>& slot_of)
    : images_(ctx.persistent({slots, 3, side, side}, DType::u8)),
      labels_(ctx.persistent({slots}, DType::i32)),
      order_(ctx.persistent({std::ssize(slot_of)}, DType::i32)),
      count_(std::ssize(slot_of)),
      classes_(classes),
      height_(side),
      width_(side) {
  ctx.upload(order_, slot_of.data(), slot_of.size() * sizeof(int32_t));
}

std::vector<int32_t> epoch_order(int64_t count, uint64_t seed, uint64_t epoch, int repeats) {
  KRAIT_INPUT(repeats >= 1, "each picture ", repeats, " times");
  std::vector<int32_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  for (int64_t i = count - 1; i > 0; --i) {  // Fisher-Yates
    const Random4 r = philox(seed, static_cast<uint32_t>(Draw::order), epoch, i);
    std::swap(order[i], order[below(r.word[0], static_cast<uint32_t>(i + 1))]);
  }
  for (int64_t i = count - 1; i > 0; --i) order[i] = order[i / repeats];
  return order;
}

void DeviceDataset::shuffle(Context& ctx, uint64_t seed, uint64_t epoch, int repeats) {
  const std::vector<int32_t> order = epoch_order(count_, seed, epoch, repeats);
  ctx.upload(order_, order.data(), order.size() * sizeof(int32_t));
}

void DeviceDataset::in_order(Context& ctx) {
  std::vector<int32_t> order(count_);
  std::iota(order.begin(), order.end(), 0);
  ctx.upload(order_, order.data(), order.size() * sizeof(int32_t));
}

CropRules crop_rules(const AugmentOptions& o) {
  return {.crop = o.crop,
          .padding = o.crop_padding,
          .pad = o.pad,
          .scale_low = o.scale_low,
          .scale_high = o.scale_high,
          .ratio_low = o.ratio_low,
          .ratio_high = o.ratio_high,
          .crop_ratio = o.crop_ratio,
          .interpolation = o.interpolation,
          .flip = o.flip};
}
uint8_t mean_colour(const AugmentOptions& o, int c) {
  return static_cast<uint8_t>(std::clamp(std::nearbyint(255 * o.mean[c]), 0.0, 255.0));
}

DeviceDataset::Batch DeviceDataset::batch(Context& ctx, int64_t B, const AugmentOptions& augment,
                                          bool train, DType dtype) const {
  const int64_t channels = images_.shape(1), S = augment.size;
  KRAIT_CHECK(B > 0 && B <= count_, "a batch of ", B, " out of ", count_, " pictures");
  check_augment(augment);
  KRAIT_CHECK(channels <= MakeBatch::max_channels, "pictures with ", channels, " channels");
  KRAIT_CHECK(ctx.state || ctx.measuring(), "batch: the context has no StepState");
  AugmentPictures p{};
  p.crop = crop_rules(augment);
  p.operations = operation_rules(augment);
  for (int c = 0; c < AugmentPictures::max_channels; ++c) p.fill[c] = mean_colour(augment, c);
  const bool colored = p.operations.layers > 0 || p.operations.policies > 0 ||
                       augment.three_augment || augment.color_jitter > 0;
  KRAIT_INPUT(!train || !colored || channels == 3, "operations on colours for pictures with ",
              channels, " channels");
  KRAIT_INPUT(!train || augment.crop != Crop::padded || augment.pad != Pad::reflect ||
                  augment.crop_padding < std::min(height_, width_),
              "reflecting ", augment.crop_padding, " pixels of pictures of ", height_, " x ",
              width_);
  KRAIT_INPUT(train || augment.interpolation != Interpolation::random,
              "evaluation with a random interpolation");
  const Tensor pictures = ctx.empty({B, channels, S, S}, DType::u8);
  p.B = B;
  p.channels = static_cast<int>(channels);
  p.H = height_;
  p.W = width_;
  p.S = augment.size;
  p.train = train;
  p.source = images_.as<uint8_t>();
  p.order = order_.as<int32_t>();
  p.state = ctx.state;
  p.pictures = pictures.as<uint8_t>();
  ctx.launch(p);

  Batch out{ctx.empty({B, channels, S, S}, dtype), ctx.empty({B, classes_}, accum(dtype))};
  MakeBatch m{.dtype = dtype,
              .B = B,
              .channels = p.channels,
              .S = augment.size,
              .classes = classes_,
              .train = train,
              .mix = augment.mix,
              .mixing = mix_rules(augment.mixing),
              .erase = {augment.erase.prob, augment.erase.mode, augment.erase.count},
              .mean = {},
              .stddev = {},
              .smoothing = augment.smoothing,
              .pictures = p.pictures,
              .labels = labels_.as<int32_t>(),
              .order = p.order,
              .state = ctx.state,
              .images = out.images.data(),
              .targets = out.targets.data()};
  for (int64_t c = 0; c < channels; ++c) {
    m.mean[c] = augment.mean[c];
    m.stddev[c] = augment.stddev[c];
    KRAIT_CHECK(m.stddev[c] > 0, "batch: the standard deviation of channel ", c, " is ",
                m.stddev[c]);
  }
  ctx.launch(m);
  return out;
}

}  // namespace krait
