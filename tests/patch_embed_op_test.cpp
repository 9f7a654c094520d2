// Gradients and behaviour of the patch embedding.
#include "tests/support.h"

using namespace krait;

TEST_CASE("patch_embed: gradients of patches side by side, overlapping, and apart") {
  Context ctx(Backend::cpu, 1 << 20);
  const Tensor images = random_f64(ctx, {2, 2, 5, 6}, 1), w = random_f64(ctx, {3, 2, 2, 2}, 2),
               b = random_f64(ctx, {3}, 3);
  for (int stride : {1, 2, 3}) {
    check_gradients(ctx, {images, w, b},
                    [&](auto& v) { return patch_embed(ctx, v[0], v[1], v[2], stride); });
    check_gradients(ctx, {w}, [&](auto& v) { return patch_embed(ctx, images, v[0], {}, stride); });
  }
}

TEST_CASE("patch_embed: patches come row by row, in tokens") {
  Context ctx(Backend::cpu, 1 << 20);
  std::vector<double> pixels(16);
  for (int i = 0; i < 16; ++i) pixels[i] = i;
  const Tensor images = ctx.from_values({1, 1, 4, 4}, DType::f64, pixels);
  // The first output takes a patch's top left pixel, the second its bottom right one.
  const Tensor w = ctx.from_values({2, 1, 2, 2}, DType::f64, {1, 0, 0, 0, 0, 0, 0, 1});
  const Tensor b = ctx.from_values({2}, DType::f64, {0, 100});
  const Tensor y = patch_embed(ctx, images, w, b, 2);
  CHECK(y.shape() == Shape({1, 4, 2}));
  CHECK(ctx.values(y) == std::vector<double>{0, 105, 2, 107, 8, 113, 10, 115});
  CHECK(patch_embed(ctx, images, w, b, 1).shape() == Shape({1, 9, 2}));
}

TEST_CASE("patch_embed: a wrong shape says so") {
  Context ctx(Backend::cpu, 1 << 20);
  const Tensor images = ctx.empty({1, 3, 8, 8}, DType::f32);
  CHECK_THROWS_WITH_AS(patch_embed(ctx, images, ctx.empty({4, 1, 2, 2}, DType::f32), {}, 2),
                       doctest::Contains("images are (1, 3, 8, 8), w is (4, 1, 2, 2)"), Error);
  CHECK_THROWS_WITH_AS(patch_embed(ctx, images, ctx.empty({4, 3, 9, 9}, DType::f32), {}, 2),
                       doctest::Contains("patches 9 wide"), Error);
}
