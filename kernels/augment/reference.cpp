// The definition of make_batch: plain loops.
#include "kernels/augment/normalise.h"

namespace krait {

void make_batch_reference(const MakeBatch& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    const BatchConstants<A> k(p);
    auto* images = static_cast<T*>(p.images);
    auto* targets = static_cast<A*>(p.targets);
    PictureDraw d;
    for (int64_t i = 0; i < p.B; ++i) {
      draw_picture(d, p, i);
      int at = 0;
      for (int c = 0; c < p.channels; ++c)
        for (int y = 0; y < p.S; ++y)
          for (int x = 0; x < p.S; ++x, ++at) *images++ = T(batch_value(p, k, d, i, c, y, x, at));
      for (int c = 0; c < p.classes; ++c) *targets++ = batch_target(k, d, c);
    }
  });
}

}  // namespace krait
