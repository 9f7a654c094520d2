// Gradient of the loss, its stability, and the counting of hits.
#include "kernels/common/step_state.h"
#include "tests/support.h"

using namespace krait;

namespace {

Totals totals_of(Backend backend, DType dtype, Shape shape, const std::vector<double>& logits,
                 const std::vector<double>& targets) {
  Context ctx(backend, 1 << 20);
  const Tensor memory = ctx.persistent({int64_t(sizeof(Totals))}, DType::u8);
  Totals t{.loss = 100, .count = 10, .top1 = 20, .top5 = 30};  // it must add to these
  ctx.upload(memory, &t, sizeof t);
  cross_entropy(ctx, ctx.from_values(shape, dtype, logits),
                ctx.from_values(shape, accum(dtype), targets), memory.as<Totals>());
  ctx.download(&t, memory, sizeof t);
  return {t.loss - 100, t.count - 10, t.top1 - 20, t.top5 - 30};
}

}  // namespace

TEST_CASE("cross_entropy: gradient, also where targets do not add up to 1") {
  Context ctx(Backend::cpu, 1 << 20);
  const Tensor targets = random_f64(ctx, {4, 7}, 2, 0, 1);
  check_gradients(ctx, {random_f64(ctx, {4, 7}, 1, -4, 4)},
                  [&](auto& in) { return cross_entropy(ctx, in[0], targets); });
  check_gradients(ctx, {random_f64(ctx, {4, 7}, 1, -4, 4)}, [&](auto& in) {
    Tensor twice = add(ctx, in[0], in[0]);  // the gradient of the loss is not 1, and added to
    return add(ctx, cross_entropy(ctx, twice, targets), cross_entropy(ctx, in[0], targets));
  });
}
TEST_CASE("cross_entropy: the mean over images; large logits do not overflow") {
  Context ctx(Backend::cpu, 1 << 20);
  for (DType t : {DType::f32, DType::f64}) {
    const Tensor even = ctx.from_values({2, 4}, t, {0, 0, 0, 0, 7, 7, 7, 7});
    const Tensor first = ctx.from_values({2, 4}, t, {1, 0, 0, 0, 1, 0, 0, 0});
    CHECK(ctx.values(cross_entropy(ctx, even, first))[0] == doctest::Approx(std::log(4)));
    const Tensor large = ctx.from_values({2, 4}, t, {900, 0, 0, -900, 0, 900, 0, 0});
    CHECK(ctx.values(cross_entropy(ctx, large, first))[0] == doctest::Approx(450));
  }
}
TEST_CASE("cross_entropy: totals add the sum of losses and count hits; the first of equals wins") {
  const double nan = NAN;
  const std::vector<double> logits = {5,   1,   2, 3, 4, 0,     // right, 0
                                      5,   5,   2, 3, 4, 0,     // class 1: equal to one before it
                                      5,   5,   2, 3, 4, 0,     // class 0: equal to one after it
                                      5,   1,   2, 3, 4, 0,     // class 5: the sixth
                                      5,   1,   2, 3, 4, 0,     // class 1: the fifth
                                      1,   1,   1, 1, 1, 1,     // class 4 of six equals: the fifth
                                      1,   1,   1, 1, 1, 1,     // targets all equal: class 0
                                      1,   nan, 0, 0, 0, 0,     // class 0: second to NaN
                                      nan, 1,   0, 0, 0, nan};  // class 0 itself: no hit
  std::vector<double> targets(logits.size(), 0.1);
  const int right[] = {0, 1, 0, 5, 1, 4, -1, 0, 0};
  for (int b = 0; b < 9; ++b)
    if (right[b] >= 0) targets[b * 6 + right[b]] = 0.5;
  int skipped = 0;
  for (Backend backend : {Backend::cpu, Backend::cuda})
    for (DType t : {DType::f32, DType::bf16, DType::f64}) {
      if (!available(backend)) ++skipped;
      if (!available(backend) || (backend == Backend::cuda && t == DType::f64)) continue;
      CAPTURE(name_of(t));
      const Totals all = totals_of(backend, t, {9, 6}, logits, targets);
      CHECK(all.count == 9);
      CHECK(all.top1 == 3);
      CHECK(all.top5 == 7);
      CHECK(std::isnan(all.loss));
      // Without the images that hold a NaN. Rows 0 to 6 in f64, from the definition.
      const Totals some = totals_of(backend, t, {7, 6}, {logits.begin(), logits.begin() + 42},
                                    {targets.begin(), targets.begin() + 42});
      double sum = 0;
      for (int b = 0; b < 7; ++b) {
        double z = 0;
        for (int c = 0; c < 6; ++c) z += std::exp(logits[b * 6 + c]);
        for (int c = 0; c < 6; ++c) sum -= targets[b * 6 + c] * (logits[b * 6 + c] - std::log(z));
      }
      CHECK(some.loss == doctest::Approx(sum).epsilon(1e-6));
      CHECK(some.top1 == 3);
      CHECK(some.top5 == 6);
    }
  if (skipped) MESSAGE(skipped, " GPU checks skipped: no GPU here");
}
TEST_CASE("cross_entropy: fewer than five classes are always among the first five") {
  const Totals t = totals_of(Backend::cpu, DType::f32, {2, 2}, {0, 1, 0, 1}, {1, 0, 0, 1});
  CHECK(t.top1 == 1);
  CHECK(t.top5 == 2);
}
TEST_CASE("cross_entropy: wrong arguments say so") {
  Context ctx(Backend::cpu, 1 << 20);
  CHECK_THROWS_WITH_AS(
      cross_entropy(ctx, ctx.zeros({2, 4}, DType::f32), ctx.zeros({2, 3}, DType::f32)),
      doctest::Contains("targets are (2, 3)"), Error);
}
