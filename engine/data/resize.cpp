// Pillow's resampling (src/libImaging/Resample.c): along the rows, rounded to 8 bits, then along
// the columns. Weights are rounded to multiples of 2^-22.
#include "engine/data/resize.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/error.h"

namespace krait {
namespace {

constexpr int weight_bits = 22;

double triangle(double x) {
  return std::max(0.0, 1 - std::abs(x));
}
double cubic(double x) {  // Keys 1981, a = -1/2
  x = std::abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  if (x < 2) return ((-0.5 * x + 2.5) * x - 4) * x + 2;
  return 0;
}

// For output pixels [first, first + count) of `out` in all: which input pixels they are made of.
struct Weights {
  int taps;                      // the most of them
  std::vector<int> start, used;  // of each output pixel
  std::vector<int> weight;       // (count, taps)
  Weights(int in, int out, int first, int count, bool bicubic) : start(count), used(count) {
    const double scale = static_cast<double>(in) / out, stretch = std::max(scale, 1.0);
    const double support = (bicubic ? 2 : 1) * stretch;
    taps = static_cast<int>(std::ceil(support)) * 2 + 1;
    weight.assign(static_cast<size_t>(count) * taps, 0);
    std::vector<double> w(taps);
    for (int i = 0; i < count; ++i) {
      const double center = (first + i + 0.5) * scale;
      start[i] = std::max(static_cast<int>(center - support + 0.5), 0);
      used[i] = std::min(static_cast<int>(center + support + 0.5), in) - start[i];
      double sum = 0;
      for (int k = 0; k < used[i]; ++k) {
        const double at = (k + start[i] - center + 0.5) / stretch;
        sum += w[k] = bicubic ? cubic(at) : triangle(at);
      }
      for (int k = 0; k < used[i]; ++k) {
        const double v = w[k] / sum * (1 << weight_bits);
        weight[static_cast<size_t>(i) * taps + k] = static_cast<int>(v < 0 ? v - 0.5 : v + 0.5);
      }
    }
  }
};

uint8_t rounded(int sum) {
  return static_cast<uint8_t>(std::clamp((sum + (1 << (weight_bits - 1))) >> weight_bits, 0, 255));
}

}  // namespace

void resize(const Picture& picture, const Box& from, int height, int width, const Box& window,
            bool bicubic, uint8_t* out) {
  KRAIT_CHECK(from.y >= 0 && from.x >= 0 && from.height > 0 && from.width > 0 &&
                  from.y + from.height <= picture.height && from.x + from.width <= picture.width,
              "resize: a box outside the picture");
  KRAIT_CHECK(window.y >= 0 && window.x >= 0 && window.y + window.height <= height &&
                  window.x + window.width <= width,
              "resize: a window outside the result");
  const Weights down(from.height, height, window.y, window.height, bicubic);
  const Weights across(from.width, width, window.x, window.width, bicubic);
  // The rows that are needed, scaled along: (3, rows, window.width).
  const int first = down.start.front(), rows = down.start.back() + down.used.back() - first;
  std::vector<uint8_t> scaled(int64_t{3} * rows * window.width);
  for (int y = 0; y < rows; ++y) {
    const uint8_t* line =
        picture.pixels.data() + (int64_t{from.y + first + y} * picture.width + from.x) * 3;
    uint8_t* to[3];
    for (int c = 0; c < 3; ++c) to[c] = scaled.data() + (int64_t{c} * rows + y) * window.width;
    for (int x = 0; x < window.width; ++x) {
      const uint8_t* pixel = line + 3 * across.start[x];
      const int* weight = &across.weight[static_cast<size_t>(x) * across.taps];
      int red = 0, green = 0, blue = 0;
      for (int k = 0; k < across.used[x]; ++k, pixel += 3) {
        red += pixel[0] * weight[k];
        green += pixel[1] * weight[k];
        blue += pixel[2] * weight[k];
      }
      to[0][x] = rounded(red);
      to[1][x] = rounded(green);
      to[2][x] = rounded(blue);
    }
  }
  std::vector<int> sum(window.width);
  for (int c = 0; c < 3; ++c)
    for (int y = 0; y < window.height; ++y, out += window.width) {
      std::fill(sum.begin(), sum.end(), 0);
      const uint8_t* line =
          scaled.data() + (int64_t{c} * rows + down.start[y] - first) * window.width;
      for (int k = 0; k < down.used[y]; ++k, line += window.width) {
        const int weight = down.weight[static_cast<size_t>(y) * down.taps + k];
        for (int x = 0; x < window.width; ++x) sum[x] += line[x] * weight;
      }
      for (int x = 0; x < window.width; ++x) out[x] = rounded(sum[x]);
    }
}

}  // namespace krait
