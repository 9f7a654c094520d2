// A data set in device memory, and how batches are taken from it.
#include <numeric>

#include "engine/data/dataset.h"
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

DeviceDataset::DeviceDataset(Context& ctx, int classes, int64_t slots, int side, int64_t count)
    : images_(ctx.persistent({slots, 3, side, side}, DType::u8)),
      labels_(ctx.persistent({slots}, DType::i32)),
      order_(ctx.persistent({count}, DType::i32)),
      count_(count),
      classes_(classes),
      height_(side),
      width_(side) {
  std::vector<int32_t> order(count);
  for (int64_t j = 0; j < count; ++j) order[j] = static_cast<int32_t>(j % slots);
  ctx.upload(order_, order.data(), order.size() * sizeof(int32_t));
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

DeviceDataset::Batch DeviceDataset::batch(Context& ctx, int64_t B, const AugmentOptions& augment,
                                          bool train, DType dtype) const {
  const int64_t channels = images_.shape(1), S = augment.size;
  KRAIT_CHECK(B > 0 && B <= count_, "a batch of ", B, " out of ", count_, " pictures");
  check_augment(augment);
  KRAIT_CHECK(channels <= MakeBatch::max_channels, "pictures with ", channels, " channels");
  KRAIT_CHECK(ctx.state || ctx.measuring(), "batch: the context has no StepState");
  Batch out{ctx.empty({B, channels, S, S}, dtype), ctx.empty({B, classes_}, accum(dtype))};
  MakeBatch p{.dtype = dtype,
              .B = B,
              .channels = static_cast<int>(channels),
              .H = height_,
              .W = width_,
              .S = augment.size,
              .classes = classes_,
              .train = train,
              .crop_padding = augment.crop_padding,
              .flip = augment.flip,
              .mix = augment.mix,
              .mean = {},
              .stddev = {},
              .smoothing = augment.smoothing,
              .pictures = images_.as<uint8_t>(),
              .labels = labels_.as<int32_t>(),
              .order = order_.as<int32_t>(),
              .state = ctx.state,
              .images = out.images.data(),
              .targets = out.targets.data()};
  for (int64_t c = 0; c < channels; ++c) {
    p.mean[c] = augment.mean[c];
    p.stddev[c] = augment.stddev[c];
    KRAIT_CHECK(p.stddev[c] > 0, "batch: the standard deviation of channel ", c, " is ",
                p.stddev[c]);
  }
  ctx.launch(p);
  return out;
}

}  // namespace krait
