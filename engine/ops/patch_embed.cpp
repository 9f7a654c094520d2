// Op patch_embed: pictures to tokens.
#include "kernels/patch_embed/patch_embed.h"

#include "engine/ops/ops.h"

namespace krait {

Tensor patch_embed(Context& ctx, const Tensor& images, const Tensor& w, const Tensor& b,
                   int stride) {
  KRAIT_CHECK(images.shape().rank == 4 && w.shape().rank == 4 && w.shape(1) == images.shape(1) &&
                  w.shape(2) == w.shape(3),
              "patch_embed: images are ", images.shape(), ", w is ", w.shape());
  KRAIT_CHECK(images.dtype() == w.dtype(), "patch_embed: images are ", name_of(images.dtype()),
              ", w is ", name_of(w.dtype()));
  KRAIT_CHECK(images.contiguous() && w.contiguous(),
              "patch_embed: an input is a part of something wider");
  const int64_t B = images.shape(0), D = w.shape(0);
  const DType wide = accum(w.dtype());
  KRAIT_CHECK(!b || (b.shape() == Shape({D}) && b.dtype() == wide), "patch_embed: b is ", b.shape(),
              " ", name_of(b.dtype()), ", w is ", w.shape());
  const PatchGrid grid{.C = images.shape(1),
                       .H = images.shape(2),
                       .W = images.shape(3),
                       .p = w.shape(2),
                       .stride = stride};
  KRAIT_CHECK(stride > 0 && grid.p <= grid.H && grid.p <= grid.W, "patch_embed: images are ",
              images.shape(), ", patches ", grid.p, " wide and ", stride, " apart");
  Tensor y = ctx.empty({B, grid.patches(), D}, images.dtype());
  ctx.launch(PatchEmbedFwd{.dtype = images.dtype(),
                           .B = B,
                           .D = D,
                           .grid = grid,
                           .allow_tf32 = ctx.allow_tf32,
                           .images = images.data(),
                           .w = w.data(),
                           .b = b.data(),
                           .y = y.data()});
  auto backward = [images, w, b, grid, B, D, wide](Context& ctx, Tape::Step& step) {
    auto dimages = step.into(images);
    auto dw = step.into_accumulated(w);
    auto db = step.into_accumulated(b);
    KRAIT_CHECK(!dw || dw.grad.dtype() == wide, "patch_embed: the gradient of w is ",
                name_of(dw.grad.dtype()), ", not ", name_of(wide));
    ctx.launch(PatchEmbedBwd{.dtype = images.dtype(),
                             .B = B,
                             .D = D,
                             .grid = grid,
                             .allow_tf32 = ctx.allow_tf32,
                             .accumulate_dimages = dimages.accumulate,
                             .images = images.data(),
                             .w = w.data(),
                             .dy = step.dy().data(),
                             .dimages = dimages.data(),
                             .dw = dw.data(),
                             .db = db.data()});
  };
  ctx.record_op("patch_embed", {&images, &w, &b}, {&y}, backward);
  return y;
}

}  // namespace krait
