// CPU row: pictures over several threads, one line of pixels at a time. The same numbers as the
// reference, bit for bit; a line that needs no scaling is one loop the compiler vectorises.
#include <algorithm>
#include <vector>

#include "kernels/augment/window.h"

namespace krait {
namespace {

// Line y of channel c of the window, scaled to S pixels.
void line(const MakeBatch& p, const BatchConstants<float>& k, const Window& w, int c, int y,
          float* out) {
  if (p.S != p.H || p.S != p.W) {
    for (int x = 0; x < p.S; ++x) out[x] = scaled_pixel(p, k, w, c, y, x);
    return;
  }
  const int from = y + w.y, left = std::max(0, -w.x), right = std::min(p.W, p.W - w.x);
  std::fill(out, out + p.S, 0.0f);
  if (from < 0 || from >= p.H || left >= right) return;
  const uint8_t* pixels = w.picture + (c * p.H + from) * p.W;
  const float scale = k.scale[c], shift = k.shift[c];
  for (int x = left; x < right; ++x)
    out[x] = multiply_add(static_cast<float>(pixels[x + w.x]), scale, shift);
  if (w.mirrored) std::reverse(out, out + p.S);
}

template <class T>
void make_picture(const MakeBatch& p, const BatchConstants<float>& k, const BatchMix<float>& mix,
                  int64_t i, float* a, float* b) {
  const Window own(p, i), partner(p, p.B - 1 - i);
  T* out = static_cast<T*>(p.images) + i * p.channels * p.S * p.S;
  for (int c = 0; c < p.channels; ++c)
    for (int y = 0; y < p.S; ++y, out += p.S) {
      line(p, k, own, c, y, a);
      if (mix.mix != Mix::none) {
        line(p, k, partner, c, y, b);
        for (int x = 0; x < p.S; ++x) a[x] = mix.pixel(*p.state, y, x, a[x], b[x]);
      }
      for (int x = 0; x < p.S; ++x) out[x] = T(a[x]);
    }
  float* targets = static_cast<float*>(p.targets) + i * p.classes;
  for (int c = 0; c < p.classes; ++c)
    targets[c] = mix.target(c == own.label ? k.on : k.off, c == partner.label ? k.on : k.off);
}

}  // namespace

void make_batch_openmp(const MakeBatch& p, const Launch&) {
  const BatchConstants<float> k(p);
  const BatchMix<float> mix(p);
#pragma omp parallel
  {
    std::vector<float> lines(2 * p.S);
#pragma omp for schedule(static)
    for (int64_t i = 0; i < p.B; ++i)
      if (p.dtype == DType::bf16)
        make_picture<bf16>(p, k, mix, i, lines.data(), lines.data() + p.S);
      else
        make_picture<float>(p, k, mix, i, lines.data(), lines.data() + p.S);
  }
}

}  // namespace krait
