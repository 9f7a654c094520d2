// What every row of make_batch shares: what one value of a picture is, and how two are mixed.
// A is the type of arithmetic: f32, or f64 in the exact reference.
#pragma once

#include "kernels/augment/augment.h"

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
  KRAIT_HD A value(uint8_t v, int c) const { return multiply_add(A(v), scale[c], shift[c]); }
};

// What is drawn for picture i, and its partner.
struct PictureDraw {
  MixChoice mix;
  Erasure own, partner;
  int32_t label, partner_label;
};
KRAIT_HD inline void draw_picture(PictureDraw& d, const MakeBatch& p, int64_t i) {
  const StepState& s = *p.state;
  const int64_t j = p.B - 1 - i;
  const int64_t own = s.share.place(i), partner = s.share.place(j);
  d.mix = p.train && p.mix ? mix_of_picture(p.mixing, s, i, p.B, p.S) : MixChoice{};
  d.label = p.labels[p.order ? p.order[s.first + own] : i];
  d.partner_label = p.labels[p.order ? p.order[s.first + partner] : j];
  d.own.count = d.partner.count = 0;
  if (!p.train) return;
  draw_erasure(d.own, p.erase, s.seed, s.step, own, p.S);
  if (d.mix.mix != Mix::none) draw_erasure(d.partner, p.erase, s.seed, s.step, partner, p.S);
}

// Value (c, y, x) of picture i in the batch. `at` = (c S + y) S + x.
template <class A>
KRAIT_HD A batch_value(const MakeBatch& p, const BatchConstants<A>& k, const PictureDraw& d,
                       int64_t i, int c, int y, int x, int at) {
  const int64_t size = int64_t{p.channels} * p.S * p.S;
  const A own = d.own(c, y, x, p.S, k.value(p.pictures[i * size + at], c));
  if (d.mix.mix == Mix::none) return own;
  const A other = d.partner(c, y, x, p.S, k.value(p.pictures[(p.B - 1 - i) * size + at], c));
  if (d.mix.mix == Mix::cutmix) return d.mix.box.has(y, x) ? other : own;
  const A lambda = d.mix.lambda, rest = A(1) - lambda;
  return multiply_add(lambda, own, rest * other);
}

template <class A>
KRAIT_HD A batch_target(const BatchConstants<A>& k, const PictureDraw& d, int c) {
  const A lambda = d.mix.lambda, rest = A(1) - lambda;
  const A own = c == d.label ? k.on : k.off, other = c == d.partner_label ? k.on : k.off;
  return multiply_add(lambda, own, rest * other);
}

}  // namespace krait
