// Work beside the rest (gradients of weights), as late as it ever may run: the same bits.
#include "tests/support.h"

using namespace krait;

namespace {

// A weight that is used twice, one that another op adds to as well, and many turns.
struct Result {
  std::vector<double> dw, dv, db;
  size_t peak;
};
Result run(bool late) {
  Context ctx(Backend::cpu, 1 << 20);
  ctx.work_beside().late = late;
  Tensor x = random_f64(ctx, {6, 8}, 1), w = random_f64(ctx, {8, 8}, 2),
         v = random_f64(ctx, {8}, 3), b = random_f64(ctx, {8}, 4);
  Tensor dw = ctx.zeros({8, 8}, DType::f64), dv = ctx.zeros({8}, DType::f64),
         db = ctx.zeros({8}, DType::f64);
  const size_t before = ctx.arena().used();
  {
    Tape tape;
    tape.watch(w, dw), tape.watch(v, dv), tape.watch(b, db);
    auto recording = ctx.record(tape);
    Tensor y = x;
    for (int i = 0; i < 5; ++i) y = silu(ctx, linear(ctx, y, w, b));
    tape.backward(ctx, linear(ctx, y, v.viewed({1, 8})));
  }
  CHECK(ctx.arena().used() == before);
  return {ctx.values(dw), ctx.values(dv), ctx.values(db), ctx.arena().peak()};
}

}  // namespace

TEST_CASE("work beside: as late as it may run, the same bits; memory is kept that long") {
  const Result now = run(false), late = run(true);
  CHECK(now.dw == late.dw);
  CHECK(now.dv == late.dv);
  CHECK(now.db == late.db);
  CHECK(late.peak > now.peak);
  CHECK(now.dw[0] != 0);
}

TEST_CASE("work beside: measuring finds the memory that it keeps") {
  Context ctx(Backend::cpu);
  ctx.work_beside().late = true;
  auto step = [&] {
    Tensor x = ctx.empty({64, 32}, DType::f32), w = ctx.empty({32, 32}, DType::f32);
    Tensor dw = ctx.empty({32, 32}, DType::f32);
    Tape tape;
    tape.watch(w, dw);
    auto recording = ctx.record(tape);
    Tensor y = x;
    for (int i = 0; i < 6; ++i) y = linear(ctx, y, w);
    tape.backward(ctx, y);
  };
  const size_t bytes = ctx.measure(step);
  ctx.reserve(bytes);
  step();
  CHECK(ctx.arena().peak() <= bytes);
}
