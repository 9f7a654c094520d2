// CPU row of make_batch: pictures over several threads, one line of pixels at a time. The same
// numbers as the reference, bit for bit; lines with nothing erased are loops that the compiler
// vectorises.
#include <vector>

#include "kernels/augment/normalise.h"

namespace krait {
namespace {

// Line y of channel c of a picture, normalised and erased.
void line(const MakeBatch& p, const BatchConstants<float>& k, const Erasure& erasure,
          const uint8_t* picture, int c, int y, float* out) {
  const uint8_t* pixels = picture + (c * p.S + y) * p.S;
  for (int x = 0; x < p.S; ++x) out[x] = k.value(pixels[x], c);
  if (erasure.count)
    for (int x = 0; x < p.S; ++x) out[x] = erasure(c, y, x, p.S, out[x]);
}

void mix_lines(const MixChoice& m, int y, int S, float* own, const float* other) {
  const float lambda = m.lambda, rest = 1 - lambda;
  if (m.mix == Mix::mixup)
    for (int x = 0; x < S; ++x) own[x] = multiply_add(lambda, own[x], rest * other[x]);
  else if (y >= m.box.y0 && y < m.box.y1)
    for (int x = m.box.x0; x < m.box.x1; ++x) own[x] = other[x];
}

template <class T>
void make_picture(const MakeBatch& p, const BatchConstants<float>& k, const PictureDraw& d,
                  int64_t i, float* a, float* b) {
  const int64_t size = int64_t{p.channels} * p.S * p.S;
  T* out = static_cast<T*>(p.images) + i * size;
  for (int c = 0; c < p.channels; ++c)
    for (int y = 0; y < p.S; ++y, out += p.S) {
      line(p, k, d.own, p.pictures + i * size, c, y, a);
      if (d.mix.mix != Mix::none) {
        line(p, k, d.partner, p.pictures + (p.B - 1 - i) * size, c, y, b);
        mix_lines(d.mix, y, p.S, a, b);
      }
      for (int x = 0; x < p.S; ++x) out[x] = T(a[x]);
    }
  float* targets = static_cast<float*>(p.targets) + i * p.classes;
  for (int c = 0; c < p.classes; ++c) targets[c] = batch_target(k, d, c);
}

}  // namespace

void make_batch_openmp(const MakeBatch& p, const Launch&) {
  const BatchConstants<float> k(p);
#pragma omp parallel
  {
    std::vector<float> lines(2 * p.S);
    PictureDraw d;
#pragma omp for schedule(static)
    for (int64_t i = 0; i < p.B; ++i) {
      draw_picture(d, p, i);
      if (p.dtype == DType::bf16)
        make_picture<bf16>(p, k, d, i, lines.data(), lines.data() + p.S);
      else
        make_picture<float>(p, k, d, i, lines.data(), lines.data() + p.S);
    }
  }
}

}  // namespace krait
