// The tape and the step's memory: what is added and what overwrites, what is given back, addresses
// that repeat, measuring without memory.
#include "tests/support.h"

using namespace krait;

TEST_CASE("tape: gradients are added to the memory given for them, also through parts") {
  Context ctx(Backend::cpu, 1 << 20);
  Tensor x = random_f64(ctx, {3, 2}, 1), w = random_f64(ctx, {4, 5}, 2),
         dw = ctx.zeros({4, 5}, DType::f64);
  std::vector<double> once;
  for (int time = 0; time < 2; ++time) {
    Tape tape;
    tape.watch(w, dw);
    auto recording = ctx.record(tape);
    auto parts = split(ctx, w, {2, 3});
    tape.backward(ctx, linear(ctx, x, parts[0]));
    if (time == 0) once = ctx.values(dw);
  }
  for (int i = 0; i < 20; ++i) CHECK(dw.as<double>()[i] == doctest::Approx(2 * once[i]));
  CHECK(once[0] != 0);
}
TEST_CASE("tape: using a tensor after it was split is refused") {
  Context ctx(Backend::cpu, 1 << 20);
  Tensor x = random_f64(ctx, {4, 4}, 1), w = random_f64(ctx, {4, 4}, 2);
  Tape tape;
  tape.watch(w);
  auto recording = ctx.record(tape);
  Tensor wide = linear(ctx, x, w);
  auto parts = split(ctx, wide, {2, 2});
  Tensor y = linear(ctx, linear(ctx, parts[0], parts[1]), wide);
  CHECK_THROWS_WITH_AS(tape.backward(ctx, y), doctest::Contains("after it was split"), Error);
}
TEST_CASE("tape: a place on an earlier tape means nothing on the next") {
  Context ctx(Backend::cpu, 1 << 20);
  Tensor x = random_f64(ctx, {2, 3}, 1), w = random_f64(ctx, {4, 3}, 2);
  {
    Tape first;
    first.watch(x);
    CHECK(first.wants(x));
  }
  Tape second;
  second.watch(w);  // takes the slot that x had on the first
  CHECK(!second.wants(x));
  auto recording = ctx.record(second);
  second.backward(ctx, linear(ctx, x, w));
  CHECK_THROWS_AS(second.grad(x), Error);
  CHECK(second.grad(w).shape() == w.shape());
}
TEST_CASE("arena: backward gives back all memory, and every step has the same addresses") {
  Context ctx(Backend::cpu, 1 << 20);
  Tensor x = random_f64(ctx, {8, 8}, 1), w = random_f64(ctx, {8, 8}, 2),
         dw = ctx.zeros({8, 8}, DType::f64);
  const size_t before = ctx.arena().used();
  size_t first_peak = 0;
  const void* first_address = nullptr;
  for (int step = 0; step < 3; ++step) {
    Tape tape;
    tape.watch(w, dw);
    auto recording = ctx.record(tape);
    Tensor h = x;
    for (int l = 0; l < 10; ++l) h = silu(ctx, linear(ctx, h, w));
    CHECK(tape.length() == 20);
    if (step == 0) first_address = h.data();
    CHECK(h.data() == first_address);  // what replaying a graph needs
    tape.backward(ctx, h);
    h = {};
    if (step == 0) first_peak = ctx.arena().peak();
  }
  CHECK(ctx.arena().used() == before);
  CHECK(ctx.arena().peak() == first_peak);
}
TEST_CASE("arena: without a tape nothing is kept") {
  Context ctx(Backend::cpu, 1 << 20);
  Tensor x = random_f64(ctx, {8, 8}, 1), w = random_f64(ctx, {8, 8}, 2);
  const size_t before = ctx.arena().used();
  {
    Tensor h = x;
    for (int l = 0; l < 10; ++l) h = silu(ctx, linear(ctx, h, w));
  }
  CHECK(ctx.arena().used() == before);
  CHECK(ctx.arena().peak() <= before + 2048);
}
TEST_CASE("arena: a block of exactly the measured size suffices, one byte less does not") {
  Context ctx(Backend::cpu);
  auto work = [&] {
    Tensor a = ctx.zeros({100}, DType::f64), b = ctx.zeros({1000}, DType::f64);
    a = {};
    Tensor c = ctx.zeros({50}, DType::f64), d = ctx.zeros({70}, DType::f64);
    b = {};
    Tensor e = ctx.zeros({2000}, DType::f64);
  };
  const size_t bytes = ctx.measure(work);
  CHECK(bytes > 16000);
  CHECK(!ctx.measuring());
  ctx.reserve(bytes);
  work();
  CHECK(ctx.arena().extent() == bytes);
  ctx.reserve(bytes - 1);
  CHECK_THROWS_AS(work(), OutOfMemory);
}
