// Pillow's resampling (src/libImaging/Resample.c): along the rows, rounded to 8 bits, then along
// the columns. Weights are rounded to multiples of 2^-22.
#include "engine/data/resize.h"

#include <algorithm>

#include "kernels/augment/resample.h"
#include "kernels/common/error.h"

namespace krait {
namespace {

// For output pixels [first, first + count) of `out` in all: which input pixels they are made of.
struct Weights {
  int taps;                      // the most of them
  std::vector<int> start, used;  // of each output pixel
  std::vector<int> weight;       // (count, taps)
  Weights(int in, int out, int first, int count, bool bicubic)
      : taps(most_weights(bicubic, in, out)),
        start(count),
        used(count),
        weight(static_cast<size_t>(count) * taps) {
    std::vector<int32_t> row(taps + 2);
    for (int i = 0; i < count; ++i) {
      pixel_weights(bicubic, in, out, first + i, row.data());
      start[i] = row[0];
      used[i] = row[1];
      std::copy_n(row.begin() + 2, row[1], weight.begin() + int64_t{i} * taps);
    }
  }
};

uint8_t rounded(int sum) {
  return clipped((sum + (1 << (weight_bits - 1))) >> weight_bits);
}

using Int4 = int __attribute__((vector_size(16)));  // a pixel's three colours, and nothing

// One row of pixels, scaled along; `out` is its first colour, the others are `plane` bytes further
// on.
void scale_row(const uint8_t* row, const Weights& weights, std::vector<Int4>& wide, uint8_t* out,
               int64_t plane) {
  for (size_t x = 0; x < wide.size(); ++x)
    wide[x] = Int4{row[3 * x], row[3 * x + 1], row[3 * x + 2]};
  for (size_t x = 0; x < weights.start.size(); ++x, ++out) {
    const Int4* pixel = &wide[weights.start[x]];
    const int* weight = &weights.weight[x * weights.taps];
    Int4 sum = Int4{} + (1 << (weight_bits - 1));
    for (int k = 0; k < weights.used[x]; ++k) sum += pixel[k] * weight[k];
    sum >>= weight_bits;
    sum = sum < 0 ? 0 : sum;
    sum = sum > 255 ? 255 : sum;
    for (int c = 0; c < 3; ++c) out[c * plane] = static_cast<uint8_t>(sum[c]);
  }
}

}  // namespace

void resize_picture(const Picture& picture, const Box& from, int height, int width,
                    const Box& window, bool bicubic, uint8_t* out) {
  KRAIT_CHECK(from.y >= 0 && from.x >= 0 && from.height > 0 && from.width > 0 &&
                  from.y + from.height <= picture.height && from.x + from.width <= picture.width,
              "resize_picture: a box outside the picture");
  KRAIT_CHECK(window.y >= 0 && window.x >= 0 && window.y + window.height <= height &&
                  window.x + window.width <= width,
              "resize_picture: a window outside the result");
  const Weights down(from.height, height, window.y, window.height, bicubic);
  const Weights across(from.width, width, window.x, window.width, bicubic);
  // The rows that are needed, scaled along: (3, rows, window.width).
  const int first = down.start.front(), rows = down.start.back() + down.used.back() - first;
  std::vector<uint8_t> scaled(int64_t{3} * rows * window.width);
  std::vector<Int4> wide(from.width);
  for (int y = 0; y < rows; ++y)
    scale_row(picture.pixels.data() + (int64_t{from.y + first + y} * picture.width + from.x) * 3,
              across, wide, scaled.data() + int64_t{y} * window.width,
              int64_t{rows} * window.width);
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
