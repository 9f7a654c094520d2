// Which part of a picture from a folder a batch shows, for pictures of any size and shape.
#include <algorithm>
#include <cmath>

#include "engine/data/image_folder.h"
#include "engine/data/resize.h"
#include "kernels/common/random.h"

namespace krait {
namespace {

// Scaled so that the shorter side becomes `side`: torchvision's Resize(side).
Box scaled_size(const Picture& p, int side) {
  const int64_t shorter = std::min(p.height, p.width);
  return {.height = static_cast<int>(side * int64_t{p.height} / shorter),
          .width = static_cast<int>(side * int64_t{p.width} / shorter)};
}

// torchvision's CenterCrop: half of what is left, a half rounded to an even number.
int middle(int whole, int part) {
  return static_cast<int>(std::nearbyint((whole - part) / 2.0));
}

// A random part of 8 to 100 % of the area and of a shape between 3:4 and 4:3, as the options say:
// torchvision's RandomResizedCrop. After ten tries that do not fit: the largest central part whose
// shape is allowed.
Box random_part(const Picture& p, const AugmentOptions& o, const BatchPlace& place, int64_t i) {
  const double area = static_cast<double>(p.height) * p.width;
  for (uint64_t attempt = 0; attempt < 10; ++attempt) {
    const Random4 r = philox(place.seed, static_cast<uint32_t>(Draw::crop), place.step,
                             static_cast<uint64_t>(i) | (attempt + 1) << 32);
    const double part = area * (o.scale_low + (o.scale_high - o.scale_low) * uniform01(r.word[0]));
    const double low = std::log(o.ratio_low), high = std::log(o.ratio_high);
    const double ratio = std::exp(low + (high - low) * uniform01(r.word[1]));
    const auto width = std::lrint(std::sqrt(part * ratio));
    const auto height = std::lrint(std::sqrt(part / ratio));
    if (width < 1 || height < 1 || width > p.width || height > p.height) continue;
    return {.y = static_cast<int>(below(r.word[2], static_cast<uint32_t>(p.height - height + 1))),
            .x = static_cast<int>(below(r.word[3], static_cast<uint32_t>(p.width - width + 1))),
            .height = static_cast<int>(height),
            .width = static_cast<int>(width)};
  }
  Box box{.height = p.height, .width = p.width};
  const double ratio = static_cast<double>(p.width) / p.height;
  if (ratio < o.ratio_low) box.height = static_cast<int>(std::lrint(p.width / o.ratio_low));
  if (ratio > o.ratio_high) box.width = static_cast<int>(std::lrint(p.height * o.ratio_high));
  box.y = (p.height - box.height) / 2;
  box.x = (p.width - box.width) / 2;
  return box;
}

// A size x size window of `scaled` (3, height, width) with `padding` pixels around it.
void padded_window(const std::vector<uint8_t>& scaled, const Box& of, int padding, Pad pad,
                   const AugmentOptions& o, const BatchPlace& place, int64_t i, uint8_t* out) {
  const int S = o.size;
  const Random4 r = philox(place.seed, static_cast<uint32_t>(Draw::crop), place.step, i);
  const int top = static_cast<int>(below(r.word[0], of.height + 2 * padding - S + 1)) - padding;
  const int left = static_cast<int>(below(r.word[1], of.width + 2 * padding - S + 1)) - padding;
  auto reflected = [](int at, int size) {
    const int inside = at < 0 ? -at : at >= size ? 2 * (size - 1) - at : at;
    return std::clamp(inside, 0, size - 1);
  };
  for (int c = 0; c < 3; ++c) {
    const auto border = static_cast<uint8_t>(pad == Pad::mean ? std::lround(255 * o.mean[c]) : 0);
    for (int y = top; y < top + S; ++y)
      for (int x = left; x < left + S; ++x) {
        const bool outside = y < 0 || y >= of.height || x < 0 || x >= of.width;
        const int from_y = reflected(y, of.height), from_x = reflected(x, of.width);
        *out++ = outside && pad != Pad::reflect
                     ? border
                     : scaled[(int64_t{c} * of.height + from_y) * of.width + from_x];
      }
  }
}

}  // namespace

void crop_picture(const Picture& picture, const AugmentOptions& o, bool train,
                  const BatchPlace& place, int64_t i, uint8_t* out) {
  const int S = o.size;
  const Box whole{.height = picture.height, .width = picture.width};
  const Box all{.height = S, .width = S};
  const bool bicubic = o.interpolation == Interpolation::bicubic;
  if (o.crop == Crop::central) {
    const Box of = scaled_size(picture, static_cast<int>(S / o.crop_ratio));
    const Box window{middle(of.height, S), middle(of.width, S), S, S};
    resize(picture, whole, of.height, of.width, window, bicubic, out);
  } else if (!train || o.crop == Crop::none) {
    resize(picture, whole, S, S, all, bicubic, out);
  } else if (o.crop == Crop::resized) {
    resize(picture, random_part(picture, o, place, i), S, S, all, bicubic, out);
  } else {
    KRAIT_CHECK(o.crop == Crop::padded || o.crop == Crop::simple, "this crop is for CIFAR");
    const bool simple = o.crop == Crop::simple;
    const Box of = scaled_size(picture, S);
    std::vector<uint8_t> scaled(int64_t{3} * of.height * of.width);
    resize(picture, whole, of.height, of.width, of, bicubic, scaled.data());
    padded_window(scaled, of, simple ? 4 : o.crop_padding, simple ? Pad::reflect : o.pad, o, place,
                  i, out);
  }
}

}  // namespace krait
