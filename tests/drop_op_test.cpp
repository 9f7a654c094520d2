// Gradient of drop, and what is dropped.
#include "kernels/common/random.h"
#include "kernels/common/step_state.h"
#include "tests/support.h"

using namespace krait;

TEST_CASE("drop: gradient") {
  Context ctx(Backend::cpu, 1 << 20);
  const StepState state{.seed = 5, .step = 3};
  ctx.state = &state;
  ctx.training = true;
  for (int64_t group : {1, 6})
    check_gradients(ctx, {random_f64(ctx, {7, 6}, 1)}, [&](auto& in) {
      return add(ctx, drop(ctx, in[0], 0.4, group, 2), silu(ctx, in[0]));
    });
}
TEST_CASE("drop: groups go whole, the rest is scaled, in the share asked for") {
  Context ctx(Backend::cpu, 1 << 22);
  StepState state{.seed = 5, .step = 3};
  ctx.state = &state;
  ctx.training = true;
  const int64_t groups = 4000, width = 3;
  const Tensor x = ctx.empty({groups, width}, DType::f32);
  ctx.fill(x, 1);
  auto dropped = [&](int place) {
    const Tensor y = drop(ctx, x, 0.25, width, place);
    std::vector<bool> gone;
    for (int64_t g = 0; g < groups; ++g) {
      const float* v = y.as<float>() + g * width;
      CHECK(v[0] == v[1]);
      CHECK(v[1] == v[2]);
      CHECK((v[0] == 0.0f || v[0] == 1.0f / 0.75f));
      gone.push_back(v[0] == 0.0f);
    }
    return gone;
  };
  const auto first = dropped(0);
  for (int64_t g = 0; g < groups; ++g) {
    const auto stream = static_cast<uint32_t>(Draw::drop);
    CHECK(first[g] == (uniform01(philox(5, stream, 3, g).word[0]) < 0.25f));
  }
  // 4000 draws: the standard deviation of the count is 27.
  CHECK(std::abs(std::count(first.begin(), first.end(), true) - 1000) < 140);
  CHECK(dropped(0) == first);
  CHECK(dropped(1) != first);
  state.step = 4;
  CHECK(dropped(0) != first);
}
TEST_CASE("drop: the identity outside of training and for p = 0") {
  Context ctx(Backend::cpu, 1 << 20);
  const Tensor x = ctx.zeros({4, 6}, DType::f32);
  CHECK(drop(ctx, x, 0.5, 1, 0).data() == x.data());
  ctx.training = true;
  CHECK(drop(ctx, x, 0, 1, 0).data() == x.data());
  CHECK_THROWS_WITH_AS(drop(ctx, x, 0.5, 1, 0), doctest::Contains("no state"), Error);
  CHECK_THROWS_WITH_AS(drop(ctx, x, 1, 1, 0), doctest::Contains("p is 1"), Error);
}
