// The definition of make_batch: plain loops.
#include "kernels/augment/window.h"

namespace krait {

void make_batch_reference(const MakeBatch& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    const BatchConstants<A> k(p);
    const BatchMix<A> mix(p);
    auto* images = static_cast<T*>(p.images);
    auto* targets = static_cast<A*>(p.targets);
    for (int64_t i = 0; i < p.B; ++i) {
      const Window own(p, i), partner(p, p.B - 1 - i);
      for (int c = 0; c < p.channels; ++c)
        for (int y = 0; y < p.S; ++y)
          for (int x = 0; x < p.S; ++x) {
            A v = scaled_pixel(p, k, own, c, y, x);
            if (mix.mix != Mix::none)
              v = mix.pixel(*p.state, y, x, v, scaled_pixel(p, k, partner, c, y, x));
            images[((i * p.channels + c) * p.S + y) * p.S + x] = T(v);
          }
      for (int c = 0; c < p.classes; ++c)
        targets[i * p.classes + c] =
            mix.target(c == own.label ? k.on : k.off, c == partner.label ? k.on : k.off);
    }
  });
}

}  // namespace krait
