// Operations on a picture of bytes, as Pillow's ImageOps, ImageEnhance, Image.transform and
// GaussianBlur do them, written for a team.
#pragma once

#include "kernels/augment/resample.h"

namespace krait {

enum class Operation : uint8_t {
  auto_contrast,  // each channel stretched to 0 .. 255
  equalize,       // each channel's histogram made flat
  invert,
  posterize,     // value: bits kept
  solarize,      // value: threshold; what is not below it is inverted
  solarize_add,  // value: added to what is below 128
  grayscale,
  color,       // value: factor; 0: gray, 1: as it is. Also the next three
  contrast,    // 0: the mean gray
  brightness,  // 0: black
  sharpness,   // 0: smoothed
  blur,        // value: radius
  affine,      // out(x, y) = in(a x + b y + c, d x + e y + f)
};

struct PictureOperation {
  Operation operation;
  bool bicubic;  // affine: bicubic (a = -1) or bilinear
  double value;
  double map[6];  // affine: a .. f
};

// What a team works on: the picture, as much room again, and tables.
struct Canvas {
  uint8_t* now;  // (channels, S, S)
  uint8_t* other;
  int channels, S;
  const uint8_t* fill;  // (channels), what lies outside
  int32_t* counts;      // (channels, 256)
  uint8_t* table;       // (channels, 256)
  KRAIT_HD void swap() {
    uint8_t* keep = now;
    now = other;
    other = keep;
  }
  KRAIT_HD int plane() const { return S * S; }
};

KRAIT_HD inline int luminance(int red, int green, int blue) {  // ITU-R 601-2
  return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
}

// Image.blend: a + factor (b - a), cut off at 0 and 255.
KRAIT_HD inline uint8_t blend(int a, int b, float factor) {
  const float v = static_cast<float>(a) + product(factor, static_cast<float>(b - a));
  return v <= 0 ? 0 : v >= 255 ? 255 : static_cast<uint8_t>(v);
}

// ---- each byte by itself

template <class Team, class F>
KRAIT_HD void map_bytes(const Team& team, const Canvas& c, F f) {
  each(team, c.channels * c.plane(), [&](int i) { c.now[i] = f(c.now[i]); });
  team.sync();
}

template <class Team>
KRAIT_HD void histogram(const Team& team, const Canvas& c) {
  each(team, c.channels * 256, [&](int i) { c.counts[i] = 0; });
  team.sync();
  for (int ch = 0; ch < c.channels; ++ch)
    each(team, c.plane(),
         [&](int i) { team.add(c.counts + ch * 256 + c.now[ch * c.plane() + i], 1); });
  team.sync();
}

template <class Team>
KRAIT_HD void look_up(const Team& team, const Canvas& c) {
  team.sync();
  for (int ch = 0; ch < c.channels; ++ch)
    each(team, c.plane(), [&](int i) {
      uint8_t& v = c.now[ch * c.plane() + i];
      v = c.table[ch * 256 + v];
    });
  team.sync();
}

KRAIT_HD inline void stretch(const int32_t* counts, uint8_t* table) {
  int low = 0, high = 255;
  while (low < 255 && !counts[low]) ++low;
  while (high > 0 && !counts[high]) --high;
  const double scale = high > low ? 255.0 / (high - low) : 1;
  const double offset = high > low ? product(-low, scale) : 0;
  for (int v = 0; v < 256; ++v) {
    const double to = product(v, scale) + offset;
    table[v] = to <= 0 ? 0 : to >= 255 ? 255 : static_cast<uint8_t>(to);
  }
}

KRAIT_HD inline void flatten(const int32_t* counts, int pixels, uint8_t* table) {
  int high = 255;
  while (high > 0 && !counts[high]) --high;
  const int step = (pixels - counts[high]) / 255;
  int n = step / 2;
  for (int v = 0; v < 256; ++v) {
    table[v] = step ? clipped(n / step) : static_cast<uint8_t>(v);
    n += counts[v];
  }
}

// ---- three channels together

template <class Team>
KRAIT_HD void adjust_color(const Team& team, const Canvas& c, float factor) {
  const int n = c.plane();
  each(team, n, [&](int i) {
    uint8_t *red = c.now + i, *green = red + n, *blue = green + n;
    const int gray = luminance(*red, *green, *blue);
    *red = blend(gray, *red, factor);
    *green = blend(gray, *green, factor);
    *blue = blend(gray, *blue, factor);
  });
  team.sync();
}

template <class Team>
KRAIT_HD void adjust_contrast(const Team& team, const Canvas& c, float factor) {
  const int n = c.plane();
  if (team.rank() == 0) c.counts[0] = 0;
  team.sync();
  int32_t sum = 0;
  each(team, n, [&](int i) { sum += luminance(c.now[i], c.now[n + i], c.now[2 * n + i]); });
  team.add(c.counts, sum);
  team.sync();
  const int mean = static_cast<int>(static_cast<double>(c.counts[0]) / n + 0.5);
  map_bytes(team, c, [&](int v) { return blend(mean, v, factor); });
}

// ---- neighbours

// The smooth picture is a 3 x 3 mean with weight 5 of 13 in the middle; its border is as it was.
template <class Team>
KRAIT_HD void adjust_sharpness(const Team& team, Canvas& c, float factor) {
  const int S = c.S;
  for (int ch = 0; ch < c.channels; ++ch) {
    const uint8_t* in = c.now + ch * c.plane();
    uint8_t* out = c.other + ch * c.plane();
    team.each_pixel(S, S, [&](int y, int x) {
      const uint8_t* at = in + y * S + x;
      int smooth = *at;
      if (y > 0 && y < S - 1 && x > 0 && x < S - 1) {
        int sum = 4 * *at;
        for (int dy = -1; dy <= 1; ++dy)
          for (int dx = -1; dx <= 1; ++dx) sum += at[dy * S + dx];
        smooth = (2 * sum + 13) / 26;
      }
      out[y * S + x] = blend(smooth, *at, factor);
    });
  }
  team.sync();
  c.swap();
}

// A mean over 2 radius + 1 pixels, where radius has a fraction: the two pixels at the ends count
// less. Outside lie copies of the first and the last pixel. `step`: from a pixel to the next.
KRAIT_HD inline uint8_t box_mean(const uint8_t* line, int n, int step, int x, int radius,
                                 uint32_t inner, uint32_t outer) {
  auto at = [&](int k) { return uint32_t{line[(k < 0 ? 0 : k < n ? k : n - 1) * step]}; };
  uint32_t sum = 0;
  for (int k = x - radius; k <= x + radius; ++k) sum += at(k);
  sum = sum * inner + (at(x - radius - 1) + at(x + radius + 1)) * outer;
  return static_cast<uint8_t>((sum + (1u << 23)) >> 24);
}

// The radius of a box that, applied three times, has the variance of a Gaussian (Gwosdek et al.
// 2011, equations 7, 11, 14). In f32, as Pillow.
KRAIT_HD inline float box_radius(float sigma) {
  const float variance = product(sigma, sigma) / 3.0f;
  const auto length = static_cast<float>(sqrt(product(12.0, double{variance}) + 1.0));
  const auto l = static_cast<float>(floor((length - 1.0) / 2.0));
  const float up = product(2.0f * l + 1.0f, product(l, l + 1.0f) - product(3.0f, variance));
  const float down = product(6.0f, variance - product(l + 1.0f, l + 1.0f));
  return l + up / down;
}

template <class Team>
KRAIT_HD void blur(const Team& team, Canvas& c, float sigma) {
  const float box = box_radius(sigma);
  const int radius = static_cast<int>(box), S = c.S;
  const auto inner = static_cast<uint32_t>(float{1 << 24} / (product(box, 2.0f) + 1.0f));
  const uint32_t outer = ((1u << 24) - (2 * static_cast<uint32_t>(radius) + 1) * inner) / 2;
  for (int pass = 0; pass < 6; ++pass) {  // three along the rows, three along the columns
    for (int ch = 0; ch < c.channels; ++ch) {
      const uint8_t* in = c.now + ch * c.plane();
      uint8_t* out = c.other + ch * c.plane();
      team.each_pixel(S, S, [&](int y, int x) {
        out[y * S + x] = pass < 3 ? box_mean(in + y * S, S, 1, x, radius, inner, outer)
                                  : box_mean(in + x, S, S, y, radius, inner, outer);
      });
    }
    team.sync();
    c.swap();
  }
}

// ---- an affine map (Image.transform)

// Between b and c, with neighbours a and d: Keys' cubic with a = -1.
KRAIT_HD inline double cubic(double a, double b, double c, double d, double t) {
  const double p2 = c - a, p3 = 2 * (a - b) + c - d, p4 = b - a - c + d;
  return b + product(t, p2 + product(t, p3 + product(t, p4)));
}

struct Sample {  // the pixel up left of a place, and how far it is from there
  int y, x;
  double dy, dx;
};

KRAIT_HD inline uint8_t sample_bilinear(const uint8_t* in, int S, const Sample& p) {
  auto clip = [&](int k) { return k < 0 ? 0 : k < S ? k : S - 1; };
  const int x0 = clip(p.x), x1 = clip(p.x + 1);
  auto row = [&](int y) {
    const uint8_t* r = in + clip(y) * S;
    return r[x0] + product(r[x1] - r[x0], p.dx);
  };
  const double top = row(p.y), bottom = p.y + 1 < S ? row(p.y + 1) : top;
  return static_cast<uint8_t>(top + product(bottom - top, p.dy));
}

KRAIT_HD inline uint8_t sample_bicubic(const uint8_t* in, int S, const Sample& p) {
  auto clip = [&](int k) { return k < 0 ? 0 : k < S ? k : S - 1; };
  const int x0 = clip(p.x - 1), x1 = clip(p.x), x2 = clip(p.x + 1), x3 = clip(p.x + 2);
  double v[4];  // a row outside repeats the one before it
  for (int k = 0; k < 4; ++k) {
    const int y = p.y - 1 + k;
    if (k > 0 && (y < 0 || y >= S)) {
      v[k] = v[k - 1];
      continue;
    }
    const uint8_t* r = in + clip(y) * S;
    v[k] = cubic(r[x0], r[x1], r[x2], r[x3], p.dx);
  }
  const double out = cubic(v[0], v[1], v[2], v[3], p.dy);
  return out <= 0 ? 0 : out >= 255 ? 255 : static_cast<uint8_t>(out);
}

template <class Team>
KRAIT_HD void affine(const Team& team, Canvas& c, const PictureOperation& o) {
  const int S = c.S, n = c.plane();
  team.each_pixel(S, S, [&](int y, int x) {
    const double px = x + 0.5, py = y + 0.5;
    const double ix = product(o.map[0], px) + product(o.map[1], py) + o.map[2];
    const double iy = product(o.map[3], px) + product(o.map[4], py) + o.map[5];
    const bool inside = ix >= 0 && ix < S && iy >= 0 && iy < S;
    Sample p{0, 0, 0, 0};
    if (inside) {
      p.x = static_cast<int>(floor(ix - 0.5));
      p.y = static_cast<int>(floor(iy - 0.5));
      p.dx = ix - 0.5 - p.x;
      p.dy = iy - 0.5 - p.y;
    }
    for (int ch = 0; ch < c.channels; ++ch) {
      const uint8_t* in = c.now + ch * n;
      c.other[ch * n + y * S + x] = !inside     ? c.fill[ch]
                                    : o.bicubic ? sample_bicubic(in, S, p)
                                                : sample_bilinear(in, S, p);
    }
  });
  team.sync();
  c.swap();
}

// ---- all of them

template <class Team>
KRAIT_HD void apply(const Team& team, Canvas& c, const PictureOperation& o) {
  const auto factor = static_cast<float>(o.value);
  const int value = static_cast<int>(o.value);
  switch (o.operation) {
    case Operation::auto_contrast:
      histogram(team, c);
      each(team, c.channels, [&](int ch) { stretch(c.counts + ch * 256, c.table + ch * 256); });
      return look_up(team, c);
    case Operation::equalize:
      histogram(team, c);
      each(team, c.channels,
           [&](int ch) { flatten(c.counts + ch * 256, c.plane(), c.table + ch * 256); });
      return look_up(team, c);
    case Operation::invert:
      return map_bytes(team, c, [](int v) { return static_cast<uint8_t>(255 - v); });
    case Operation::posterize: {
      const int mask = value >= 8 ? 0xFF : 0xFF & ~(0xFF >> value);
      return map_bytes(team, c, [=](int v) { return static_cast<uint8_t>(v & mask); });
    }
    case Operation::solarize:
      return map_bytes(team, c,
                       [=](int v) { return static_cast<uint8_t>(v < value ? v : 255 - v); });
    case Operation::solarize_add:
      return map_bytes(team, c, [=](int v) { return clipped(v < 128 ? v + value : v); });
    case Operation::grayscale:
      return adjust_color(team, c, 0);
    case Operation::color:
      return adjust_color(team, c, factor);
    case Operation::contrast:
      return adjust_contrast(team, c, factor);
    case Operation::brightness:
      return map_bytes(team, c, [=](int v) { return blend(0, v, factor); });
    case Operation::sharpness:
      return adjust_sharpness(team, c, factor);
    case Operation::blur:
      return blur(team, c, factor);
    case Operation::affine:
      return affine(team, c, o);
  }
}

}  // namespace krait
