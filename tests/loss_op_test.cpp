// Gradients of the losses, their stability and formulas, and the counting of hits.
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
TEST_CASE("cross_entropy: what is predicted of each image, at its place in the data set") {
  const double nan = NAN;
  const std::vector<double> logits = {1,   4,   2,   0,    // class 1
                                      3,   3,   0,   3,    // of equals the first
                                      nan, 0,   2,   1,    // what is not a number is not chosen,
                                      0,   0,   -1,  nan,  // wherever it is
                                      nan, nan, nan, nan};
  const int right[] = {1, 0, 2, 0, -1};
  const std::vector<double> targets = {1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0};
  int skipped = 0;
  for (Backend backend : {Backend::cpu, Backend::cuda})
    for (DType t : {DType::f32, DType::bf16, DType::f64}) {
      if (!available(backend)) ++skipped;
      if (!available(backend) || (backend == Backend::cuda && t == DType::f64)) continue;
      CAPTURE(name_of(t));
      Context ctx(backend, 1 << 20);
      std::vector<Prediction> p(8, {77, 77, 77});
      const Tensor memory = ctx.persistent({8 * int64_t(sizeof(Prediction))}, DType::u8);
      ctx.upload(memory, p.data(), 8 * sizeof(Prediction));
      const Tensor state = ctx.persistent({int64_t(sizeof(StepState))}, DType::u8);
      StepState s;
      s.first = 2;
      ctx.upload(state, &s, sizeof s);
      ctx.state = state.as<StepState>();
      cross_entropy(ctx, ctx.from_values({5, 4}, t, logits),
                    ctx.from_values({5, 4}, accum(t), targets), nullptr, memory.as<Prediction>());
      ctx.download(p.data(), memory, 8 * sizeof(Prediction));
      for (int untouched : {0, 1, 7}) CHECK(p[untouched].label == 77);
      for (int b = 0; b < 5; ++b) CHECK(p[2 + b].label == right[b]);
      for (int b = 0; b < 2; ++b) {
        const double* x = &logits[b * 4];
        double z = 0;
        for (int c = 0; c < 4; ++c) z += std::exp(x[c]);
        CHECK(p[2 + b].probability == doctest::Approx(std::exp(x[right[b]]) / z).epsilon(1e-5));
        CHECK(p[2 + b].loss == doctest::Approx(std::log(z) - x[0]).epsilon(1e-5));
      }
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

TEST_CASE("bce: the gradient, and the formula; targets above 0 become 1 when asked for") {
  Context ctx(Backend::cpu, 1 << 20);
  const Tensor targets = random_f64(ctx, {4, 7}, 2, -0.5, 1);
  const Tensor x = random_f64(ctx, {4, 7}, 1, -4, 4);
  for (bool binary : {false, true}) {
    check_gradients(ctx, {random_f64(ctx, {4, 7}, 1, -4, 4)},
                    [&](auto& in) { return bce(ctx, in[0], targets, binary); });
    double sum = 0;
    for (int64_t i = 0; i < 28; ++i) {
      const double t = binary ? double(targets.as<double>()[i] > 0) : targets.as<double>()[i];
      const double s = 1 / (1 + std::exp(-x.as<double>()[i]));
      sum -= t * std::log(s) + (1 - t) * std::log(1 - s);
    }
    CHECK(ctx.values(bce(ctx, x, targets, binary))[0] == doctest::Approx(sum / 28));
  }
  for (DType t : {DType::f32, DType::f64}) {
    const Tensor large = ctx.from_values({1, 2}, t, {900, -900});
    CHECK(ctx.values(bce(ctx, large, ctx.from_values({1, 2}, t, {0, 1})))[0] == 900);
    CHECK(ctx.values(bce(ctx, large, ctx.from_values({1, 2}, t, {1, 0})))[0] == 0);
  }
}

TEST_CASE("distillation: the gradient, and the published formula; nothing where both agree") {
  Context ctx(Backend::cpu, 1 << 20);
  const Tensor teacher = random_f64(ctx, {3, 5}, 2, -4, 4), x = random_f64(ctx, {3, 5}, 1, -4, 4);
  for (double tau : {1.0, 2.5}) {
    check_gradients(ctx, {random_f64(ctx, {3, 5}, 1, -4, 4)},
                    [&](auto& in) { return distillation(ctx, in[0], teacher, tau); });
    double sum = 0;
    for (int b = 0; b < 3; ++b) {
      double of_x = 0, of_t = 0;
      for (int c = 0; c < 5; ++c) of_x += std::exp(x.as<double>()[b * 5 + c] / tau);
      for (int c = 0; c < 5; ++c) of_t += std::exp(teacher.as<double>()[b * 5 + c] / tau);
      for (int c = 0; c < 5; ++c) {
        const double q = std::exp(teacher.as<double>()[b * 5 + c] / tau) / of_t;
        sum += q * (std::log(q) - x.as<double>()[b * 5 + c] / tau + std::log(of_x));
      }
    }
    CHECK(ctx.values(distillation(ctx, x, teacher, tau))[0] ==
          doctest::Approx(sum * tau * tau / 15));
    CHECK(std::abs(ctx.values(distillation(ctx, x, x, tau))[0]) < 1e-14);
  }
}

TEST_CASE(
    "cosub: one binary cross-entropy is the published four; its gradient stops at the other") {
  Context ctx(Backend::cpu, 1 << 20);
  const Tensor x = random_f64(ctx, {6, 4}, 1, -3, 3), labels = random_f64(ctx, {3, 4}, 2, 0, 1);
  auto part = [&](const Tensor& t, int half) {
    std::vector<double> v(t.as<double>() + half * 12, t.as<double>() + half * 12 + 12);
    return v;
  };
  auto logistic = [](std::vector<double> v) {
    for (double& a : v) a = 1 / (1 + std::exp(-a));
    return v;
  };
  auto term = [&](const std::vector<double>& logits, const std::vector<double>& targets) {
    return ctx.values(bce(ctx, ctx.from_values({3, 4}, DType::f64, logits),
                          ctx.from_values({3, 4}, DType::f64, targets)))[0];
  };
  const auto o0 = part(x, 0), o1 = part(x, 1), t = part(labels, 0);
  const double published =
      0.25 * (term(o0, t) + term(o1, t) + term(o0, logistic(o1)) + term(o1, logistic(o0)));
  const Tensor targets = cosub_targets(ctx, x, labels);
  CHECK(ctx.values(bce(ctx, x, targets))[0] == doctest::Approx(published));
  // Detached: the gradient with these targets as constants.
  check_gradients(ctx, {random_f64(ctx, {6, 4}, 1, -3, 3)},
                  [&](auto& in) { return bce(ctx, in[0], targets); });
  const auto binary = ctx.values(cosub_targets(ctx, x, labels, true));
  for (int i = 0; i < 12; ++i) CHECK(binary[i] == doctest::Approx((1 + logistic(o1)[i]) / 2));
}

TEST_CASE("hard targets: the first of the largest; weigh and twice") {
  Context ctx(Backend::cpu, 1 << 20);
  const Tensor x = ctx.from_values({2, 3}, DType::f32, {1, 5, 5, -2, -3, -4});
  CHECK(ctx.values(hard_targets(ctx, x)) == std::vector<double>{0, 1, 0, 1, 0, 0});
  CHECK(ctx.values(twice(ctx, x)) == std::vector<double>{1, 5, 5, -2, -3, -4, 1, 5, 5, -2, -3, -4});
  const Tensor targets = random_f64(ctx, {4, 7}, 2, 0, 1);
  check_gradients(ctx, {random_f64(ctx, {4, 7}, 1, -4, 4)}, [&](auto& in) {
    return add(ctx, weigh(ctx, cross_entropy(ctx, in[0], targets), 0.3),
               weigh(ctx, bce(ctx, in[0], targets), 0.7));
  });
}
