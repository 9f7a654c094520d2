// Gradients of linear and split, with and without bias, and of values used more than once.
#include "tests/support.h"

using namespace krait;

TEST_CASE("linear: gradient, and a value used twice adds its gradients") {
  Context ctx(Backend::cpu, 1 << 20);
  check_gradients(ctx, {random_f64(ctx, {4, 4}, 1), random_f64(ctx, {4, 4}, 2)}, [&](auto& in) {
    Tensor h = silu(ctx, linear(ctx, in[0], in[1]));
    return linear(ctx, h, linear(ctx, h, in[1]));
  });
}
TEST_CASE("linear: gradient, with bias, over batches of rows, also with a wide result") {
  Context ctx(Backend::cpu, 1 << 20);
  for (bool wide : {false, true})
    check_gradients(
        ctx, {random_f64(ctx, {2, 3, 5}, 1), random_f64(ctx, {4, 5}, 2), random_f64(ctx, {4}, 3)},
        [&](auto& in) { return linear(ctx, in[0], in[1], in[2], wide); });
}
TEST_CASE("linear: a wide result of bf16 operands is f32, and its gradients are close to f64's") {
  Context ctx(Backend::cpu, 1 << 20);
  Tensor x64 = random_f64(ctx, {6, 8}, 1), w64 = random_f64(ctx, {5, 8}, 2);
  auto run = [&](DType type) {
    Tensor x = ctx.from_values(x64.shape(), type, ctx.values(x64));
    Tensor w = ctx.from_values(w64.shape(), type, ctx.values(w64));
    Tape tape;
    tape.watch(x);
    tape.watch(w, ctx.zeros(w.shape(), accum(type)));
    auto recording = ctx.record(tape);
    Tensor y = linear(ctx, x, w, {}, true);
    CHECK(y.dtype() == accum(type));
    tape.backward(ctx, y);
    auto v = ctx.values(tape.grad(x)), dw = ctx.values(tape.grad(w));
    v.insert(v.end(), dw.begin(), dw.end());
    return v;
  };
  const auto exact = run(DType::f64), rounded = run(DType::bf16);
  for (size_t i = 0; i < exact.size(); ++i)
    CHECK(rounded[i] == doctest::Approx(exact[i]).epsilon(0.02).scale(1));
}
TEST_CASE("split: gradients, also of a part that is unused, used twice, or split again") {
  Context ctx(Backend::cpu, 1 << 20);
  check_gradients(
      ctx,
      {random_f64(ctx, {3, 4}, 1), random_f64(ctx, {7, 4}, 2), random_f64(ctx, {4, 2}, 3),
       random_f64(ctx, {4, 1}, 4)},
      [&](auto& in) {
        Tensor wide = linear(ctx, in[0], in[1]);                       // (3, 7)
        Tensor early = linear(ctx, wide, random_f64(ctx, {4, 7}, 9));  // used before the split
        auto parts = split(ctx, wide, {2, 3, 2});                      // the last: unused
        auto inner = split(ctx, parts[1], {2, 1});
        Tensor a = linear(ctx, parts[0], in[2]);  // (3, 4)
        Tensor b = linear(ctx, inner[0], in[2]);  // in[2] used twice
        Tensor c = linear(ctx, inner[1], in[3]);
        Tensor d = linear(ctx, linear(ctx, a, b), linear(ctx, c, early));
        return linear(ctx, d, linear(ctx, a, linear(ctx, parts[0], in[2])));
      });
}
TEST_CASE("linear_aligned: rows start at multiples of 16 bytes, the gaps are never read") {
  Context ctx(Backend::cpu, 1 << 20);
  {  // check_gradients fills free memory, and so the gaps, with NaN
    auto in = std::vector{random_f64(ctx, {2, 3, 5}, 1), random_f64(ctx, {7, 5}, 2),
                          random_f64(ctx, {7}, 3), random_f64(ctx, {6, 3}, 4),
                          random_f64(ctx, {6, 2}, 5)};
    check_gradients(ctx, in, [&](auto& in) {
      Tensor wide = linear_aligned(ctx, in[0], in[1], in[2]);  // (2, 3, 7)
      CHECK(wide.row_stride() == 8);
      auto parts = split(ctx, wide, {3, 2, 2});  // the last: unused
      return linear(
          ctx, linear(ctx, parts[0], in[3]),
          linear(ctx, linear(ctx, parts[1], in[4]), random_f64(ctx, {6, 6}, 6)).viewed({6, 6}));
    });
  }
  Tensor x = ctx.zeros({4, 8}, DType::bf16), w = ctx.zeros({44, 8}, DType::bf16);
  Tape tape;
  tape.watch(x);
  tape.watch(w);
  auto recording = ctx.record(tape);
  Tensor y = linear_aligned(ctx, x, w);
  CHECK(y.row_stride() == 48);
  tape.watch(y);  // its own gradient can be looked at
  Tensor v = linear(ctx, y, ctx.zeros({1, 44}, DType::bf16));
  tape.backward(ctx, v);
  CHECK(tape.grad(y).shape() == y.shape());
  CHECK(tape.grad(y).row_stride() == 48);
}
TEST_CASE("linear_aligned of two pairs: equal to one after the other, whatever they share") {
  Context ctx(Backend::cpu, 1 << 20);
  const Tensor u = random_f64(ctx, {2, 3, 5}, 1), v = random_f64(ctx, {2, 3, 5}, 2),
               w = random_f64(ctx, {7, 5}, 3), z = random_f64(ctx, {7, 5}, 4),
               longer = random_f64(ctx, {4, 5}, 5);
  auto sum = [&](const Tensor& a, const Tensor& b) {  // (2, 3, 3); rows of a and b may be apart
    return add(ctx, linear(ctx, a, random_f64(ctx, {3, a.shape(-1)}, 6)),
               linear(ctx, b, random_f64(ctx, {3, b.shape(-1)}, 7)));
  };
  check_gradients(ctx, {u, v, w, z}, [&](auto& in) {
    auto y = linear_aligned(ctx, Tensors{in[0], in[1]}, Tensors{in[2], in[3]});
    CHECK(y[1].row_stride() == 8);
    return sum(y[0], y[1]);
  });
  check_gradients(ctx, {u, w, z}, [&](auto& in) {  // one input, used once more
    auto y = linear_aligned(ctx, Tensors{in[0], in[0]}, Tensors{in[1], in[2]});
    return add(ctx, sum(y[0], y[1]), sum(in[0], in[0]));
  });
  check_gradients(ctx, {u, v, w}, [&](auto& in) {  // one weight
    auto y = linear_aligned(ctx, Tensors{in[0], in[1]}, Tensors{in[2], in[2]});
    return sum(y[0], y[1]);
  });
  check_gradients(ctx, {u, v, w, longer}, [&](auto& in) {  // two sizes
    auto y = linear_aligned(ctx, Tensors{in[0], in[1]}, Tensors{in[2], in[3]});
    return sum(y[0], y[1]);
  });
  check_gradients(ctx, {u, v, w, z}, [&](auto& in) {  // the second result is not used
    auto y = linear_aligned(ctx, Tensors{in[0], in[1]}, Tensors{in[2], in[3]});
    return add(ctx, sum(y[0], y[0]), sum(in[1], linear(ctx, in[1], in[3])));
  });
}
TEST_CASE("linear, split: wrong shapes say so") {
  Context ctx(Backend::cpu, 1 << 20);
  Tensor x = random_f64(ctx, {3, 5}, 1), w = random_f64(ctx, {4, 6}, 2);
  CHECK_THROWS_WITH_AS(linear(ctx, x, w), doctest::Contains("w is (4, 6), x is (3, 5)"), Error);
  CHECK_THROWS_WITH_AS(linear(ctx, x, random_f64(ctx, {4, 5}, 2), random_f64(ctx, {5}, 3)),
                       doctest::Contains("b is (5)"), Error);
  CHECK_THROWS_WITH_AS(split(ctx, x, {2, 2}), doctest::Contains("the widths add up to 4"), Error);
}
