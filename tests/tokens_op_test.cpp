// Gradients and behaviour of the ops on tokens.
#include "tests/support.h"

using namespace krait;

TEST_CASE("place_tokens: gradients with no, one and two class tokens") {
  Context ctx(Backend::cpu, 1 << 20);
  const Tensor patches = random_f64(ctx, {2, 3, 2}, 1), head = random_f64(ctx, {1, 1, 2}, 2),
               tail = random_f64(ctx, {1, 1, 2}, 3);
  check_gradients(ctx, {patches, random_f64(ctx, {1, 3, 2}, 4)},
                  [&](auto& v) { return place_tokens(ctx, v[0], {}, v[1]); });
  check_gradients(ctx, {patches, head}, [&](auto& v) {
    return place_tokens(ctx, v[0], {{v[1], 1}}, {});
  });
  check_gradients(ctx, {patches, head, tail, random_f64(ctx, {1, 5, 2}, 4)}, [&](auto& v) {
    return place_tokens(ctx, v[0], {{v[1], 0}, {v[2], 4}}, v[3]);
  });
}

TEST_CASE("place_tokens: everything is at its place") {
  Context ctx(Backend::cpu, 1 << 20);
  const Tensor patches = ctx.from_values({1, 3, 1}, DType::f64, {1, 2, 3});
  const Tensor a = ctx.from_values({1, 1, 1}, DType::f64, {10}),
               b = ctx.from_values({1, 1, 1}, DType::f64, {20});
  const Tensor pos = ctx.from_values({1, 5, 1}, DType::f64, {100, 200, 300, 400, 500});
  CHECK(ctx.values(place_tokens(ctx, patches, {{a, 1}, {b, 3}}, {})) ==
        std::vector<double>{1, 10, 2, 20, 3});
  CHECK(ctx.values(place_tokens(ctx, patches, {{a, 0}, {b, 4}}, pos)) ==
        std::vector<double>{110, 201, 302, 403, 520});
  CHECK(ctx.values(place_tokens(ctx, patches, {{a, 3}}, {})) == std::vector<double>{1, 2, 3, 10});
  CHECK_THROWS_AS(place_tokens(ctx, patches, {{a, 4}}, {}), Error);
  CHECK_THROWS_AS(place_tokens(ctx, patches, {{a, 2}, {b, 1}}, {}), Error);
  CHECK_THROWS_WITH_AS(place_tokens(ctx, patches, {{a, 0}}, pos),
                       doctest::Contains("pos is (1, 5, 1) f64, patches are (1, 3, 1)"), Error);
}

TEST_CASE("reverse_tokens: gradient; twice is nothing") {
  Context ctx(Backend::cpu, 1 << 20);
  const Tensor x = random_f64(ctx, {2, 4, 3}, 1);
  check_gradients(ctx, {x}, [&](auto& v) { return reverse_tokens(ctx, v[0]); });
  // Used twice: the second gradient is added to the first.
  check_gradients(ctx, {x}, [&](auto& v) { return add(ctx, v[0], reverse_tokens(ctx, v[0])); });
  CHECK(ctx.values(reverse_tokens(ctx, reverse_tokens(ctx, x))) == ctx.values(x));
  CHECK(ctx.values(reverse_tokens(ctx, ctx.from_values({1, 3, 1}, DType::f64, {1, 2, 3}))) ==
        std::vector<double>{3, 2, 1});
}

TEST_CASE("mean_tokens: gradients and values") {
  Context ctx(Backend::cpu, 1 << 20);
  const Tensor x = random_f64(ctx, {2, 5, 3}, 1);
  for (const std::vector<int64_t>& which :
       std::vector<std::vector<int64_t>>{{}, {2}, {0, 4}, {0, 1, 3, 4}})
    check_gradients(ctx, {x}, [&](auto& v) { return mean_tokens(ctx, v[0], which); });
  check_gradients(ctx, {x}, [&](auto& v) { return mean_tokens(ctx, v[0], {}, 1); });
  const Tensor n = ctx.from_values({1, 3, 1}, DType::f64, {1, 2, 6});
  CHECK(ctx.values(mean_tokens(ctx, n)) == std::vector<double>{3});
  CHECK(ctx.values(mean_tokens(ctx, n, {0, 2})) == std::vector<double>{3.5});
  CHECK(ctx.values(mean_tokens(ctx, n, {1})) == std::vector<double>{2});
  CHECK(ctx.values(mean_tokens(ctx, n, {}, 1)) == std::vector<double>{4});
  CHECK_THROWS_WITH_AS(mean_tokens(ctx, n, {3}), doctest::Contains("token 3 of x (1, 3, 1)"),
                       Error);
}

TEST_CASE("max_tokens: gradient, and the first of equal ones gets it") {
  Context ctx(Backend::cpu, 1 << 20);
  check_gradients(ctx, {random_f64(ctx, {2, 5, 3}, 1)},
                  [&](auto& v) { return max_tokens(ctx, v[0]); });
  Tensor x = ctx.from_values({1, 4, 1}, DType::f64, {-3, -1, -1, -2});
  Tape tape;
  tape.watch(x);
  auto recording = ctx.record(tape);
  Tensor y = max_tokens(ctx, x);
  CHECK(ctx.values(y) == std::vector<double>{-1});
  tape.backward(ctx, y);
  CHECK(ctx.values(tape.grad(x)) == std::vector<double>{0, 1, 0, 0});
}

TEST_CASE("ops on tokens: a wrong shape says so") {
  Context ctx(Backend::cpu, 1 << 20);
  const Tensor x = ctx.empty({3, 5}, DType::f32);
  CHECK_THROWS_WITH_AS(reverse_tokens(ctx, x), doctest::Contains("x is (3, 5), not (B, L, D)"),
                       Error);
  CHECK_THROWS_AS(max_tokens(ctx, x), Error);
}
