// The definition of the patch embedding: plain loops.
#include "kernels/patch_embed/places.h"
#include "kernels/patch_embed/rows.h"

namespace krait {

void patch_embed_fwd_reference(const PatchEmbedFwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    const int64_t rows = p.B * p.grid.patches(), n = p.grid.numbers();
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t d = 0; d < p.D; ++d) {
        A sum = p.b ? static_cast<const A*>(p.b)[d] : A(0);
        for (int64_t i = 0; i < n; ++i)
          sum += A(static_cast<const T*>(p.w)[d * n + i]) *
                 A(static_cast<const T*>(p.images)[gathered_pixel(p.grid, r * n + i)]);
        static_cast<T*>(p.y)[r * p.D + d] = T(sum);
      }
  });
}

void patch_embed_bwd_reference(const PatchEmbedBwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    const PatchGrid& g = p.grid;
    const int64_t P = g.patches(), rows = p.B * P, n = g.numbers();
    const T* dy = static_cast<const T*>(p.dy);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t d = 0; d < p.D; ++d) {
        if (p.db) static_cast<A*>(p.db)[d] += A(dy[r * p.D + d]);
        if (!p.dw) continue;
        for (int64_t i = 0; i < n; ++i)
          static_cast<A*>(p.dw)[d * n + i] +=
              A(dy[r * p.D + d]) * A(static_cast<const T*>(p.images)[gathered_pixel(g, r * n + i)]);
      }
    if (!p.dimages) return;
    for (int64_t b = 0; b < p.B; ++b)
      for (int64_t c = 0; c < g.C; ++c)
        for (int64_t y = 0; y < g.H; ++y)
          for (int64_t x = 0; x < g.W; ++x) {
            A sum = 0;
            for_patches_on(g, c, y, x, [&](int64_t patch, int64_t place) {
              for (int64_t d = 0; d < p.D; ++d)
                sum +=
                    A(dy[(b * P + patch) * p.D + d]) * A(static_cast<const T*>(p.w)[d * n + place]);
            });
            T& to = static_cast<T*>(p.dimages)[((b * g.C + c) * g.H + y) * g.W + x];
            to = T(p.accumulate_dimages ? A(to) + sum : sum);
          }
  });
}

}  // namespace krait
