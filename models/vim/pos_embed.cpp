// Bicubic interpolation of a grid of embeddings.
#include "models/vim/pos_embed.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace krait {
namespace {

// The four weights for a point `f` of the way from the second to the third sample.
std::array<double, 4> cubic(double f) {
  constexpr double a = -0.75;
  auto near = [](double x) { return ((a + 2) * x - (a + 3)) * x * x + 1; };
  auto far = [](double x) { return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a; };
  return {far(f + 1), near(f), near(1 - f), far(2 - f)};
}

}  // namespace

std::vector<double> resize_pos_embed(const std::vector<double>& values, int from, int to,
                                     int64_t D) {
  std::vector<double> out(int64_t{to} * to * D);
  auto clamp = [&](int i) { return std::clamp(i, 0, from - 1); };
  for (int y = 0; y < to; ++y)
    for (int x = 0; x < to; ++x) {
      const double sy = (y + 0.5) * from / to - 0.5, sx = (x + 0.5) * from / to - 0.5;
      const int iy = static_cast<int>(std::floor(sy)), ix = static_cast<int>(std::floor(sx));
      const auto wy = cubic(sy - iy), wx = cubic(sx - ix);
      for (int j = 0; j < 4; ++j)
        for (int i = 0; i < 4; ++i) {
          const int64_t at = int64_t{clamp(iy - 1 + j)} * from + clamp(ix - 1 + i);
          for (int64_t d = 0; d < D; ++d)
            out[(int64_t{y} * to + x) * D + d] += wy[j] * wx[i] * values[at * D + d];
        }
    }
  return out;
}

}  // namespace krait
