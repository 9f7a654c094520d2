// What every row of make_batch shares: where a picture's window lies and what one pixel of it is.
// A is the type of arithmetic: f32, or f64 in the exact reference.
#pragma once

#include <cmath>

#include "kernels/augment/augment.h"
#include "kernels/common/random.h"

namespace krait {

// Not a * b + c: whether that is rounded once or twice would be the compiler's choice.
KRAIT_HD inline float multiply_add(float a, float b, float c) {
  return fmaf(a, b, c);
}
KRAIT_HD inline double multiply_add(double a, double b, double c) {
  return fma(a, b, c);
}

// The constants of a batch, worked out once in f64 on the host.
template <class A>
struct BatchConstants {
  A scale[MakeBatch::max_channels], shift[MakeBatch::max_channels];  // n(v) = v scale + shift
  A off, on;  // a target without and with the label
  explicit BatchConstants(const MakeBatch& p) {
    for (int c = 0; c < MakeBatch::max_channels; ++c) {
      const bool used = c < p.channels;
      scale[c] = used ? static_cast<A>(1 / (255 * p.stddev[c])) : 0;
      shift[c] = used ? static_cast<A>(-p.mean[c] / p.stddev[c]) : 0;
    }
    off = static_cast<A>(p.smoothing / p.classes);
    on = static_cast<A>(1 - p.smoothing + p.smoothing / p.classes);
  }
};

// How the batch is mixed.
template <class A>
struct BatchMix {
  Mix mix;
  A lambda, rest;  // rest = 1 - lambda
  KRAIT_HD explicit BatchMix(const MakeBatch& p)
      : mix(p.train && p.mix ? p.state->mix : Mix::none),
        lambda(mix == Mix::none ? A(1) : A(p.state->lambda)),
        rest(A(1) - lambda) {}
  // Mixes value `a` of the picture with value `b` of its partner at (y, x).
  KRAIT_HD A pixel(const StepState& s, int y, int x, A a, A b) const {
    if (mix == Mix::mixup) return multiply_add(lambda, a, rest * b);
    return x >= s.box_x0 && x < s.box_x1 && y >= s.box_y0 && y < s.box_y1 ? b : a;
  }
  KRAIT_HD A target(A a, A b) const { return multiply_add(lambda, a, rest * b); }
};

// The part of picture order[first + i] that becomes picture i of the batch: H x W pixels, the
// first of them at (y, x) of the picture, maybe mirrored.
struct Window {
  const uint8_t* picture;  // (channels, H, W)
  int32_t label;
  int y, x;
  bool mirrored;
  KRAIT_HD Window(const MakeBatch& p, int64_t i) : y(0), x(0), mirrored(false) {
    const StepState& s = *p.state;
    const int64_t source = p.order[s.first + i];
    picture = p.pictures + source * p.channels * p.H * p.W;
    label = p.labels[source];
    if (!p.train) return;
    const Random4 r = philox(s.seed, static_cast<uint32_t>(Draw::crop), s.step, i);
    y = static_cast<int>(below(r.word[0], 2 * p.crop_padding + 1)) - p.crop_padding;
    x = static_cast<int>(below(r.word[1], 2 * p.crop_padding + 1)) - p.crop_padding;
    mirrored = p.flip && r.word[2] >> 31;
  }
};

// Pixel (y, x) of the window, normalised.
template <class A>
KRAIT_HD A window_pixel(const MakeBatch& p, const BatchConstants<A>& k, const Window& w, int c,
                        int y, int x) {
  y += w.y;
  x += w.x;
  if (y < 0 || y >= p.H || x < 0 || x >= p.W) return 0;
  return multiply_add(A(w.picture[(c * p.H + y) * p.W + x]), k.scale[c], k.shift[c]);
}

// Where pixel `to` of `count` falls among `size` pixels, by their centres: between `low` and
// `high`. Whole numbers, so that everyone agrees on them: (to + 1/2) size / count - 1/2, over 2
// count.
template <class A>
struct Between {
  int low, high;
  A weight;  // of `high`
  KRAIT_HD Between(int to, int count, int size) {
    int64_t at = int64_t{2 * to + 1} * size - count;
    if (at < 0) at = 0;
    low = static_cast<int>(at / (2 * count));
    weight = A(at % (2 * count)) / A(2 * count);
    high = low + 1 < size ? low + 1 : size - 1;
  }
};

// Pixel (y, x) of the window scaled to S x S. With S = H = W the weights are 0 and it is a copy.
template <class A>
KRAIT_HD A scaled_pixel(const MakeBatch& p, const BatchConstants<A>& k, const Window& w, int c,
                        int y, int x) {
  const Between<A> v(y, p.S, p.H), h(w.mirrored ? p.S - 1 - x : x, p.S, p.W);
  auto row = [&](int yy) {
    const A a = window_pixel(p, k, w, c, yy, h.low);
    return multiply_add(h.weight, window_pixel(p, k, w, c, yy, h.high) - a, a);
  };
  const A top = row(v.low);
  return multiply_add(v.weight, row(v.high) - top, top);
}

}  // namespace krait
