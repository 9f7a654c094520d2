// Where a picture comes from in its source: scaled first (or not), a window of that, scaled to S x
// S, mirrored. Drawn as torchvision and timm do it, done as Pillow does it.
#pragma once

#include <algorithm>
#include <type_traits>

#include "kernels/augment/pictures.h"
#include "kernels/augment/resample.h"
#include "kernels/common/numbers.h"

namespace krait {

struct Geometry {
  int scale_height, scale_width;  // before the window; 0: not scaled
  int y, x, height, width;        // the window; it may reach outside
  Pad pad;
  bool bicubic, mirrored;
};

// torchvision's RandomResizedCrop.get_params: ten tries, then the largest central window of an
// allowed shape.
KRAIT_HD inline void draw_resized(Geometry& g, const CropRules& r, Numbers& numbers, int H, int W) {
  const double area = static_cast<double>(H) * W;  // exact
  const double low = portable_log(r.ratio_low), high = portable_log(r.ratio_high);
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double target = product(area, numbers.uniform(r.scale_low, r.scale_high));
    const double ratio = portable_exp(numbers.uniform(low, high));
    g.width = static_cast<int>(floor(sqrt(product(target, ratio)) + 0.5));
    g.height = static_cast<int>(floor(sqrt(target / ratio) + 0.5));
    if (g.width <= 0 || g.width > W || g.height <= 0 || g.height > H) continue;
    g.y = numbers.up_to(H - g.height);
    g.x = numbers.up_to(W - g.width);
    return;
  }
  const double shape = static_cast<double>(W) / H;
  g.height = H;
  g.width = W;
  if (shape < r.ratio_low) g.height = static_cast<int>(floor(W / r.ratio_low + 0.5));
  if (shape > r.ratio_high) g.width = static_cast<int>(floor(product(H, r.ratio_high) + 0.5));
  g.y = (H - g.height) / 2;
  g.x = (W - g.width) / 2;
}

constexpr int published_window = 32, published_padding = 4, simple_padding = 4;

KRAIT_HD inline int round_half_to_even(int twice) {  // twice / 2, not negative
  return twice / 2 + (twice & 1 & (twice / 2));
}
inline KRAIT_HD int central_side(const CropRules& r, int S) {
  return static_cast<int>(S / r.crop_ratio);
}

// Of picture `index` of the batch, whose source is H x W.
KRAIT_HD inline Geometry draw_geometry(const CropRules& r, bool train, uint64_t seed, uint64_t step,
                                       int64_t index, int H, int W, int S) {
  Geometry g{0, 0, 0, 0, H, W, Pad::mean, r.interpolation == Interpolation::bicubic, false};
  const Crop crop = train || r.crop == Crop::central ? r.crop : Crop::none;
  if (crop == Crop::central) {
    // The shorter side becomes central_side, as torchvision's Resize does it.
    const int side = central_side(r, S);
    g.scale_height = H <= W ? side : static_cast<int>(int64_t{side} * H / W);
    g.scale_width = W <= H ? side : static_cast<int>(int64_t{side} * W / H);
    g.y = round_half_to_even(g.scale_height - S);
    g.x = round_half_to_even(g.scale_width - S);
    g.height = g.width = S;
  }
  if (!train) return g;
  Numbers numbers(seed, Draw::crop, step, index);
  auto shifted = [&](int padding, int rows, int columns) {  // a window of the padded picture
    g.y = numbers.up_to(rows + 2 * padding - g.height) - padding;
    g.x = numbers.up_to(columns + 2 * padding - g.width) - padding;
  };
  if (crop == Crop::padded) {
    g.pad = r.pad;
    shifted(r.padding, H, W);
  } else if (crop == Crop::resized) {
    draw_resized(g, r, numbers, H, W);
  } else if (crop == Crop::simple || crop == Crop::published) {
    const bool simple = crop == Crop::simple;
    g.scale_height = g.scale_width = S;
    g.height = g.width = simple ? S : published_window;
    g.pad = simple ? Pad::reflect : Pad::zero;
    shifted(simple ? simple_padding : published_padding, S, S);
  }
  if (r.interpolation == Interpolation::random) g.bicubic = numbers.chance(0.5);
  if (r.flip) g.mirrored = Numbers(seed, Draw::flip, step, index).chance(0.5);
  return g;
}

// What `cut` does with nothing reflected, a row at a time: a single thread is faster so.
inline void cut_rows(const Pixels& in, int channels, const Geometry& g, bool mirrored,
                     const uint8_t* fill, uint8_t* out) {
  const int left = std::clamp(-g.x, 0, g.width), right = std::clamp(in.width - g.x, left, g.width);
  for (int c = 0; c < channels; ++c)
    for (int y = g.y; y < g.y + g.height; ++y, out += g.width) {
      std::fill_n(out, g.width, g.pad == Pad::zero ? uint8_t{0} : fill[c]);
      if (y < 0 || y >= in.height || left == right) continue;
      const uint8_t* row = in.at + c * in.plane + y * in.row;
      std::copy(row + g.x + left, row + g.x + right, out + left);
      if (mirrored) std::reverse(out, out + g.width);
    }
}

// The window at `out`, packed, maybe mirrored.
template <class Team>
KRAIT_HD void cut(const Team& team, const Pixels& in, int channels, const Geometry& g,
                  bool mirrored, const uint8_t* fill, uint8_t* out) {
  if constexpr (std::is_same_v<Team, Solo>)
    if (g.pad != Pad::reflect) return cut_rows(in, channels, g, mirrored, fill, out);
  auto reflected = [](int k, int n) { return k < 0 ? -k : k < n ? k : 2 * n - 2 - k; };
  for (int c = 0; c < channels; ++c) {
    const int outside = g.pad == Pad::zero ? 0 : fill[c];
    team.each_pixel(g.height, g.width, [&](int y, int x) {
      int from_y = y + g.y, from_x = (mirrored ? g.width - 1 - x : x) + g.x;
      if (g.pad == Pad::reflect) {
        from_y = reflected(from_y, in.height);
        from_x = reflected(from_x, in.width);
      }
      const bool inside = from_y >= 0 && from_y < in.height && from_x >= 0 && from_x < in.width;
      out[(c * g.height + y) * g.width + x] =
          static_cast<uint8_t>(inside ? in(c, from_y, from_x) : outside);
    });
  }
  team.sync();
}

// The source becomes an S x S picture at `out`. `a` and `b`: room_for() bytes each.
template <class Team>
KRAIT_HD void make_geometry(const Team& team, Pixels in, int channels, const Geometry& g, int S,
                            const uint8_t* fill, const WeightTable& table, uint8_t* a, uint8_t* b,
                            uint8_t* out) {
  if (g.scale_height) {
    resize(team, in, channels, g.bicubic, g.scale_height, g.scale_width, false, table, a, b);
    in = Pixels::whole(b, g.scale_height, g.scale_width);
  }
  if (g.height == S && g.width == S) return cut(team, in, channels, g, g.mirrored, fill, out);
  if (g.y >= 0 && g.x >= 0 && g.y + g.height <= in.height && g.x + g.width <= in.width) {
    in = in.part(g.y, g.x, g.height, g.width);  // nothing of it lies outside
  } else {
    cut(team, in, channels, g, false, fill, a);
    in = Pixels::whole(a, g.height, g.width);
  }
  resize(team, in, channels, g.bicubic, S, S, g.mirrored, table, in.at == a ? b : a, out);
}

// Bytes that the largest picture on the way needs, or one scaled along its rows only.
inline size_t room_for(const AugmentPictures& p) {
  const Geometry g = draw_geometry(p.crop, false, 0, 0, 0, p.H, p.W, p.S);  // draws nothing
  size_t side = 1;
  for (int s : {p.H, p.W, p.S, g.scale_height, g.scale_width,
                p.crop.crop == Crop::published ? published_window : 0})
    side = std::max(side, static_cast<size_t>(s));
  return p.channels * side * side;
}
// Words of the table of weights of any scaling on the way: `stride` for each pixel of an axis.
struct TableSize {
  int pixels, stride;
  explicit TableSize(const AugmentPictures& p) {
    const Geometry g = draw_geometry(p.crop, false, 0, 0, 0, p.H, p.W, p.S);
    int from = std::max(p.H, p.W);
    if (p.crop.crop == Crop::published) from = std::max(from, published_window);
    const bool bicubic = p.crop.interpolation != Interpolation::bilinear;
    pixels = std::max({p.S, g.scale_height, g.scale_width});
    stride = most_weights(bicubic, from, p.S) + 2;
  }
};

}  // namespace krait
