// remake: gradients through what is run again; what is kept, and where it is when it runs again.
#include "engine/remake.h"

#include "tests/vim_model.h"

using namespace krait;

TEST_CASE("remake: gradients of inputs and of what the function holds, also nested") {
  Context ctx(Backend::cpu, 1 << 20);
  check_gradients(ctx,
                  {random_f64(ctx, {3, 4}, 1), random_f64(ctx, {6, 4}, 2),
                   random_f64(ctx, {4, 3}, 3), random_f64(ctx, {4, 4}, 4)},
                  [&](auto& in) {
                    // in[0] is used within and without, in[3] only where nested, the third output
                    // not at all.
                    auto f = [w = in[1], v = in[2], q = in[3]](Context& ctx, Tensors x) {
                      auto parts = split(ctx, linear(ctx, x[0], w), {3, 3});
                      auto inner = [q](Context& ctx, Tensors x) {
                        return Tensors{silu(ctx, linear(ctx, x[0], q))};
                      };
                      Tensor h = remake(ctx, {linear(ctx, parts[0], v)}, inner)[0];
                      return Tensors{h, linear(ctx, parts[1], v), linear(ctx, h, q)};
                    };
                    Tensors y = remake(ctx, {in[0]}, f);
                    return add(ctx, add(ctx, silu(ctx, y[0]), y[1]), linear(ctx, in[0], in[3]));
                  });
}
TEST_CASE("remake: keeps only its inputs, and gives everything back") {
  Context ctx(Backend::cpu, 1 << 20);
  Tensor w = random_f64(ctx, {32, 32}, 1), dw = ctx.zeros({32, 32}, DType::f64),
         x = random_f64(ctx, {32, 32}, 2);
  const size_t before = ctx.arena().used(), one = 32 * 32 * sizeof(double);
  {
    Tape tape;
    tape.watch(w, dw);
    auto recording = ctx.record(tape);
    auto f = [w](Context& ctx, Tensors in) {
      Tensor h = std::move(in[0]);
      for (int l = 0; l < 10; ++l) h = silu(ctx, linear(ctx, h, w));
      return Tensors{h};
    };
    Tensors y = {x};
    for (int l = 0; l < 4; ++l) y = remake(ctx, std::move(y), f);
    CHECK(tape.length() == 4);
    CHECK(ctx.arena().used() == before + 4 * one);  // three inputs and the output
    tape.backward(ctx, y[0]);
  }
  CHECK(ctx.arena().used() == before);
}
TEST_CASE("remake: runs again under the same name, with dropout as it was") {
  Context ctx(Backend::cpu, 1 << 20);
  Tensor x = random_f64(ctx, {2, 2}, 1);
  std::vector<std::string> names;
  std::vector<bool> training;
  Tape tape;
  tape.watch(x);
  Tensor y;
  {
    auto recording = ctx.record(tape);
    auto scope = ctx.scope("layers.3");
    ctx.training = true;
    y = remake(ctx, {x}, [&](Context& ctx, Tensors in) {
      auto scope = ctx.scope("mixer");
      names.push_back(ctx.scope_name());
      training.push_back(ctx.training);
      return Tensors{silu(ctx, in[0])};
    })[0];
  }
  ctx.training = false;
  tape.backward(ctx, y);
  CHECK(names == std::vector<std::string>(2, "layers.3.mixer"));
  CHECK(training == std::vector<bool>{true, true});
  CHECK(ctx.scope_name().empty());
  CHECK(!ctx.training);
}
TEST_CASE("remake: without a tape it just runs") {
  Context ctx(Backend::cpu, 1 << 20);
  Tensor x = random_f64(ctx, {2, 2}, 1);
  int runs = 0;
  remake(ctx, {x}, [&](Context& ctx, Tensors in) {
    ++runs;
    return Tensors{silu(ctx, in[0])};
  });
  CHECK(runs == 1);
}
TEST_CASE("remake: what it cannot do is refused") {
  Context ctx(Backend::cpu, 1 << 20);
  Tensor x = random_f64(ctx, {2, 4}, 1);
  auto run = [&](std::function<Tensors(Context&, Tensors)> f) {
    Tape tape;
    tape.watch(x);
    auto recording = ctx.record(tape);
    Tensor y = remake(ctx, {x}, std::move(f))[0];
    tape.backward(ctx, silu(ctx, y));
  };
  CHECK_THROWS_WITH_AS(run([](Context&, Tensors in) { return in; }),
                       doctest::Contains("is an input"), Error);
  CHECK_THROWS_WITH_AS(
      run([](Context& ctx, Tensors in) {
        return Tensors{linear(ctx, split(ctx, in[0], {2, 2})[0], random_f64(ctx, {3, 2}, 3))};
      }),
      doctest::Contains("split it outside"), Error);
}
TEST_CASE("vim: re-making the layers changes no bit of loss or gradients, under every switch") {
  auto bits = [](Model& m, bool remake) {
    m.ctx.remake_layers = remake;
    m.gradients();
    auto v = m.ctx.values(m.store.flat(Role::gradient));
    v.push_back(m.ctx.values(m.loss())[0]);
    return v;
  };
  for (const auto& [name, change] : switches()) {
    CAPTURE_BOUND(name);
    VimConfig c = small();
    change(c);
    c.drop_rate = 0.3;
    c.drop_path_rate = 0.5;
    for (DType type : {DType::f32, DType::bf16}) {
      Model m(c, type, true);  // has memory for keeping; re-making may leave other holes in it
      m.ctx.remake_layers = true;
      m.ctx.reserve(std::max(m.ctx.arena().size(), m.ctx.measure([&] { m.gradients(); })));
      const auto kept = bits(m, false), remade = bits(m, true);
      CHECK(std::memcmp(kept.data(), remade.data(), kept.size() * sizeof(double)) == 0);
      CHECK(m.ctx.arena().used() == 0);
    }
  }
}

TEST_CASE(
    "vim: re-making the layers takes less than 40 % of the memory, and as little as is said") {
  const VimConfig c = vim_config("vim_tiny_patch4_32");
  Context ctx(Backend::cpu);
  ParamStore store = declared(c);
  store.allocate(ctx, DType::bf16, {.gradients = true});
  StepState state;
  ctx.state = &state;
  ctx.training = true;
  const RopeTable table = rope_table(ctx, c, DType::f32);
  const int64_t B = 64;
  auto need = [&](bool remake) {
    ctx.remake_layers = remake;
    return ctx.measure([&] {
      Tape tape;
      auto recording = ctx.record(tape);
      store.watch(tape);
      Tensor images = ctx.empty({B, 3, c.img_size, c.img_size}, DType::bf16);
      Tensor targets = ctx.empty({B, c.num_classes}, DType::f32);
      tape.backward(ctx,
                    cross_entropy(ctx, vim(ctx, c, vim_weights(c, store), table, images), targets));
    });
  };
  const size_t all = need(false), some = need(true);
  CHECK(some * 10 < all * 4);
  // Between layers h in bf16 and r in f32 are kept.
  CHECK(some > size_t(c.depth * B * c.tokens() * c.embed_dim * 6));
}
