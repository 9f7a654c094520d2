// Which part of a picture a batch shows, decided as the device's kernel does it, for pictures of
// any size and shape.
#include <algorithm>
#include <cstring>

#include "engine/data/image_folder.h"
#include "engine/data/policy.h"
#include "engine/data/resize.h"
#include "kernels/augment/geometry.h"

namespace krait {
namespace {

Geometry draw(const Picture& p, const AugmentOptions& o, bool train, const BatchPlace& place,
              int64_t i) {
  const CropRules rules = crop_rules(o);
  const bool simple = o.crop == Crop::simple;
  if (!train || (o.crop != Crop::padded && !simple))
    return draw_geometry(rules, train, place.seed, place.step, i, p.height, p.width, o.size);
  // As draw_geometry does it with a picture of size x size: here the shorter side becomes that.
  const int shorter = std::min(p.height, p.width),
            padding = simple ? simple_padding : rules.padding;
  Geometry g{};
  g.scale_height = static_cast<int>(int64_t{o.size} * p.height / shorter);
  g.scale_width = static_cast<int>(int64_t{o.size} * p.width / shorter);
  g.height = g.width = o.size;
  g.pad = simple ? Pad::reflect : rules.pad;
  Numbers numbers(place.seed, Draw::crop, place.step, i);
  g.y = numbers.up_to(g.scale_height + 2 * padding - o.size) - padding;
  g.x = numbers.up_to(g.scale_width + 2 * padding - o.size) - padding;
  g.bicubic = rules.interpolation == Interpolation::bicubic ||
              (rules.interpolation == Interpolation::random && numbers.chance(0.5));
  return g;
}

// The window of `scaled`, (3, scale_height, scale_width), that reaches outside it.
void padded_window(const std::vector<uint8_t>& scaled, const Geometry& g, const AugmentOptions& o,
                   uint8_t* out) {
  auto reflected = [](int k, int n) { return k < 0 ? -k : k < n ? k : 2 * n - 2 - k; };
  for (int c = 0; c < 3; ++c) {
    const uint8_t border = g.pad == Pad::zero ? 0 : mean_colour(o, c);
    for (int y = g.y; y < g.y + g.height; ++y)
      for (int x = g.x; x < g.x + g.width; ++x) {
        const bool inside = y >= 0 && y < g.scale_height && x >= 0 && x < g.scale_width;
        const int from_y = reflected(y, g.scale_height), from_x = reflected(x, g.scale_width);
        *out++ = inside || g.pad == Pad::reflect
                     ? scaled[(int64_t{c} * g.scale_height + from_y) * g.scale_width + from_x]
                     : border;
      }
  }
}

}  // namespace

void check_crop(const AugmentOptions& o) {
  KRAIT_INPUT(o.crop != Crop::published, "the crop \"published\" is for CIFAR's small pictures");
  KRAIT_INPUT(o.crop != Crop::padded || o.pad != Pad::reflect || o.crop_padding < o.size,
              "reflecting ", o.crop_padding, " pixels of pictures of size ", o.size);
}

void crop_picture(const Picture& picture, const AugmentOptions& o, bool train,
                  const BatchPlace& place, int64_t i, uint8_t* out) {
  const int S = o.size;
  const Geometry g = draw(picture, o, train, place, i);
  if (!g.scale_height)
    return resize_picture(picture, {g.y, g.x, g.height, g.width}, S, S, {0, 0, S, S}, g.bicubic,
                          out);
  const Box whole{0, 0, picture.height, picture.width};
  if (g.y >= 0 && g.x >= 0 && g.y + S <= g.scale_height && g.x + S <= g.scale_width)
    return resize_picture(picture, whole, g.scale_height, g.scale_width, {g.y, g.x, S, S},
                          g.bicubic, out);
  std::vector<uint8_t> scaled(int64_t{3} * g.scale_height * g.scale_width);
  resize_picture(picture, whole, g.scale_height, g.scale_width,
                 {0, 0, g.scale_height, g.scale_width}, g.bicubic, scaled.data());
  padded_window(scaled, g, o, out);
}

}  // namespace krait
