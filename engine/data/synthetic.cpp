// Ten classes of drawn pictures, in whole numbers throughout: the same bytes on every machine.
#include <cmath>
#include <cstdlib>

#include "engine/data/dataset.h"
#include "kernels/common/random.h"

namespace krait {
namespace {

constexpr int side = 32, channels = 3, classes = 10;
constexpr int picture_bytes = channels * side * side;
constexpr const char* names[classes] = {
    "disc",           "square",       "triangle",         "ring",         "cross",
    "stripes_across", "stripes_down", "stripes_diagonal", "checkerboard", "dots"};

// The random numbers of one picture.
class Numbers {
 public:
  Numbers(bool train, int64_t picture) : step_(train ? 0 : 1), at_(picture << 20) {}
  Random4 four() { return philox(2009, static_cast<uint32_t>(Draw::synthetic), step_, at_++); }
  int between(int low, int high) {  // low and high included
    return low + static_cast<int>(below(four().word[0], static_cast<uint32_t>(high - low + 1)));
  }

 private:
  uint64_t step_, at_;
};

// How a picture of class `kind` is drawn. Lengths are in half pixels.
struct Drawing {
  int kind, x, y, radius;        // shapes: centre and half size
  int period, x_phase, y_phase;  // patterns, in pixels
  bool upside_down;
  Drawing(int label, Numbers& n) : kind(label) {
    radius = n.between(14, 24);
    x = n.between(radius - 4, 2 * side - radius + 4);
    y = n.between(radius - 4, 2 * side - radius + 4);
    period = kind == 9 ? n.between(6, 9) : n.between(4, 8);
    x_phase = n.between(0, 31);
    y_phase = n.between(0, 31);
    upside_down = n.between(0, 1) == 1;
  }
  // Does pixel (px, py) have the foreground's colour?
  bool covers(int px, int py) const {
    const int dx = 2 * px + 1 - x, dy = (2 * py + 1 - y) * (upside_down ? -1 : 1);
    const int square = dx * dx + dy * dy, far = std::max(std::abs(dx), std::abs(dy));
    const int u = px + x_phase, v = py + y_phase;
    switch (kind) {
      case 0:
        return square <= radius * radius;
      case 1:
        return far <= radius * 7 / 8;
      case 2:
        return dy >= -radius && dy <= radius && 2 * std::abs(dx) <= dy + radius;
      case 3:
        return square <= radius * radius && square * 16 > radius * radius * 6;
      case 4:
        return far <= radius && std::min(std::abs(dx), std::abs(dy)) <= radius / 4;
      case 5:
        return v % period < period / 2;
      case 6:
        return u % period < period / 2;
      case 7:
        return (upside_down ? u + v : u - v + 2 * side) % (period + 2) < (period + 2) / 2;
      case 8: {
        const int cell = 3 + period % 4;
        return (u / cell + v / cell) % 2 == 1;
      }
      default: {
        const int a = 2 * (u % period) + 1 - period, b = 2 * (v % period) + 1 - period;
        return 9 * (a * a + b * b) <= 4 * period * period;
      }
    }
  }
};

// Picture number `i`: (3, 32, 32).
void draw(bool train, int64_t i, int label, uint8_t* out) {
  Numbers n(train, i);
  const Drawing drawing(label, n);
  int colour[2][channels];
  for (int distance = 0; distance < 160;) {  // until the two can be told apart
    distance = 0;
    for (int c = 0; c < channels; ++c) {
      colour[0][c] = n.between(24, 231);
      colour[1][c] = n.between(24, 231);
      distance += std::abs(colour[0][c] - colour[1][c]);
    }
  }
  const int noise = n.between(12, 40);
  bool inside[side * side];
  for (int y = 0; y < side; ++y)
    for (int x = 0; x < side; ++x) inside[y * side + x] = drawing.covers(x, y);
  for (int at = 0; at < picture_bytes; at += 16) {  // a draw has noise for 16 bytes
    const Random4 r = n.four();
    for (int k = 0; k < 16; ++k) {
      const int byte = static_cast<int>(r.word[k / 4] >> (8 * (k % 4)) & 255);
      const int channel = (at + k) / (side * side), pixel = (at + k) % (side * side);
      const int v = colour[inside[pixel]][channel] + (byte - 128) * noise / 128;
      out[at + k] = static_cast<uint8_t>(v < 0 ? 0 : v > 255 ? 255 : v);
    }
  }
}

std::vector<uint8_t> draw_all(bool train, int64_t count) {
  std::vector<uint8_t> images(count * picture_bytes);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < count; ++i)
    draw(train, i, static_cast<int>(i % classes), images.data() + i * picture_bytes);
  return images;
}

}  // namespace

Dataset synthetic(bool train, int64_t count) {
  Dataset data{.name = "SYNTHETIC",
               .classes = classes,
               .class_names = {names, names + classes},
               .images = draw_all(train, count),
               .labels = {}};
  for (int64_t i = 0; i < count; ++i) data.labels.push_back(static_cast<int32_t>(i % classes));
  // Of the first 1000 training pictures, whatever was asked for: training and evaluation must
  // normalise alike.
  constexpr int64_t measured = 1000, pixels = measured * side * side;
  const std::vector<uint8_t> sample = draw_all(true, measured);
  for (int c = 0; c < channels; ++c) {
    int64_t sum = 0, squares = 0;
    for (int64_t i = 0; i < measured; ++i)
      for (int k = 0; k < side * side; ++k) {
        const int v = sample[i * picture_bytes + c * side * side + k];
        sum += v;
        squares += v * v;
      }
    const double mean = static_cast<double>(sum) / pixels;
    data.mean[c] = mean / 255;
    data.stddev[c] = std::sqrt(static_cast<double>(squares) / pixels - mean * mean) / 255;
  }
  return data;
}

}  // namespace krait
