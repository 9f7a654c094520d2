// The parameter store: layout, how parameters start, which weights are computed with.
#include "engine/params.h"

#include <numeric>

#include "kernels/common/random.h"
#include "tests/support.h"

using namespace krait;

namespace {

void declare(ParamStore& s) {
  s.get("pos_embed", {1, 5, 8}, {Init::normal, 0.02});
  s.get("in_proj.weight", {300, 70}, {Init::uniform, 0.25});
  s.get("conv1d.weight", {30, 1, 4}, {Init::constant, 0.5}, true);
  s.get("dt_proj.bias", {4000}, {Init::dt_bias, 1e-3, 0.1});
  s.get("A_log", {30, 16}, {Init::a_log}, true);
  s.get("cut", {100, 100}, {Init::normal, 2, 1.5});
}

}  // namespace

TEST_CASE("params: decayed ones first, each at a multiple of 64, names in the order declared") {
  ParamStore s(declare);
  CHECK(s.count() == 40 + 21000 + 120 + 4000 + 480 + 10000);
  REQUIRE(s.all().size() == 6);
  CHECK(s.all()[0].name == "pos_embed");
  CHECK(s.all()[5].name == "cut");
  CHECK(!s.find("pos_embed")->decay);
  CHECK(!s.find("dt_proj.bias")->decay);
  CHECK(s.find("A_log")->decay);
  CHECK(s.find("conv1d.weight")->decay);
  CHECK(s.find("absent") == nullptr);
  std::vector<const Param*> by_place;
  for (const Param& p : s.all()) by_place.push_back(&p);
  std::sort(by_place.begin(), by_place.end(),
            [](auto* a, auto* b) { return a->offset < b->offset; });
  int64_t end = 0;
  for (const Param* p : by_place) {
    CHECK(p->offset % 64 == 0);
    CHECK(p->offset >= end);
    CHECK(p->decay == (p->offset < s.decayed()));
    end = p->offset + p->shape.count();
  }
  CHECK(s.total() >= end);
  CHECK(s.decayed() == 21056 + 128 + 512 + 10048);
}

TEST_CASE("params: mistakes say so") {
  CHECK_THROWS_WITH_AS(ParamStore([](ParamStore& s) {
                         s.get("w", {2}, {});
                         s.get("w", {2}, {});
                       }),
                       doctest::Contains("parameter w is declared twice"), Error);
  Context ctx(Backend::cpu);
  ParamStore s([](ParamStore& s) { s.get("w", {2, 3}, {}); });
  CHECK_THROWS_WITH_AS(s.get("w", {2, 3}, {}), doctest::Contains("before allocate"), Error);
  s.allocate(ctx, DType::f32, {});
  CHECK_THROWS_WITH_AS(s.get("v", {2, 3}, {}), doctest::Contains("no parameter v"), Error);
  CHECK_THROWS_WITH_AS(s.get("w", {3, 2}, {}),
                       doctest::Contains("w is (2, 3), asked for as (3, 2)"), Error);
  Tape tape;
  CHECK_THROWS_WITH_AS(s.watch(tape), doctest::Contains("gradients are not allocated"), Error);
  CHECK_THROWS_WITH_AS(s.use_ema(ctx, true), doctest::Contains("not allocated"), Error);
}

TEST_CASE("params: how they start") {
  Context ctx(Backend::cpu);
  ParamStore s(declare);
  s.allocate(ctx, DType::f32, {.ema = true});
  s.initialise(ctx, 7);
  auto values = [&](const char* name) {
    return ctx.values(s.part(ParamStore::Role::master, *s.find(name)));
  };
  auto mean = [](const std::vector<double>& v) {
    return std::accumulate(v.begin(), v.end(), 0.0) / static_cast<double>(v.size());
  };
  auto square = [](std::vector<double> v) {
    for (double& x : v) x *= x;
    return v;
  };
  const auto u = values("in_proj.weight");
  CHECK(std::abs(mean(u)) < 0.005);
  CHECK(std::sqrt(mean(square(u))) == doctest::Approx(0.25 / std::sqrt(3)).epsilon(0.02));
  for (double x : u) CHECK_UNARY(std::abs(x) <= 0.25);
  for (double x : values("conv1d.weight")) CHECK(x == 0.5);
  const auto a = values("A_log");
  for (size_t i = 0; i < a.size(); ++i)
    CHECK(a[i] == doctest::Approx(std::log(1.0 + static_cast<double>(i % 16))));
  std::vector<double> log_dt;
  for (double bias : values("dt_proj.bias")) {
    const double dt = std::log1p(std::exp(bias));
    CHECK_UNARY(dt >= 0.999e-3);
    CHECK_UNARY(dt <= 0.1001);
    log_dt.push_back(std::log(dt));
  }
  CHECK(mean(log_dt) == doctest::Approx(std::log(1e-2)).epsilon(0.02));  // uniform in log dt
  const auto cut = values("cut");
  CHECK(*std::max_element(cut.begin(), cut.end()) <= 3);
  CHECK(*std::max_element(cut.begin(), cut.end()) > 2.9);
  CHECK(std::sqrt(mean(square(values("pos_embed")))) == doctest::Approx(0.02).epsilon(0.3));
  // A pure function of (seed, number of the parameter, index).
  const Random4 r = philox(7, static_cast<uint32_t>(Draw::init), 1, 5);
  CHECK(u[5] == doctest::Approx(0.25 * (2 * (r.word[0] + 0.5) * 0x1p-32 - 1)).epsilon(1e-6));
  CHECK(ctx.values(s.flat(ParamStore::Role::ema)) == ctx.values(s.flat(ParamStore::Role::master)));

  ParamStore other(declare);
  other.allocate(ctx, DType::f64, {});
  other.initialise(ctx, 7);
  CHECK(ctx.values(other.flat(ParamStore::Role::master)) ==
        ctx.values(s.flat(ParamStore::Role::master)));
  other.initialise(ctx, 8);
  CHECK(ctx.values(other.flat(ParamStore::Role::master)) !=
        ctx.values(s.flat(ParamStore::Role::master)));
}

TEST_CASE("params: bf16 computes with a copy, but for rank 1 and keep_f32") {
  using Role = ParamStore::Role;
  Context ctx(Backend::cpu);
  ParamStore s(declare);
  s.allocate(ctx, DType::bf16, {.gradients = true, .ema = true});
  s.initialise(ctx, 1);
  auto get = [&](const char* name) { return s.get(name, s.find(name)->shape, {}); };
  CHECK(get("in_proj.weight").dtype() == DType::bf16);
  CHECK(get("conv1d.weight").dtype() == DType::f32);
  CHECK(get("dt_proj.bias").dtype() == DType::f32);
  CHECK(get("dt_proj.bias").data() == s.part(Role::master, *s.find("dt_proj.bias")).data());
  const Param& w = *s.find("in_proj.weight");
  const float first = s.part(Role::master, w).as<float>()[3];
  CHECK(get("in_proj.weight").as<bf16>()[3].bits == bf16(first).bits);
  // The average, and back.
  ctx.fill(s.flat(Role::ema), 2);
  s.use_ema(ctx, true);
  CHECK(float(get("in_proj.weight").as<bf16>()[3]) == 2);
  CHECK(get("dt_proj.bias").as<float>()[0] == 2);
  Tape none;
  CHECK_THROWS_WITH_AS(s.watch(none), doctest::Contains("average"), Error);
  s.use_ema(ctx, false);
  CHECK(get("in_proj.weight").as<bf16>()[3].bits == bf16(first).bits);
  CHECK(get("dt_proj.bias").data() == s.part(Role::master, *s.find("dt_proj.bias")).data());
}

TEST_CASE("params: a gradient is added to its own part of the block") {
  using Role = ParamStore::Role;
  Context ctx(Backend::cpu, 1 << 16);
  ParamStore s([](ParamStore& s) {
    s.get("a", {3, 2}, {Init::constant, 1});
    s.get("b", {3, 2}, {Init::constant, 2});
  });
  s.allocate(ctx, DType::f64, {.gradients = true});
  s.initialise(ctx, 1);
  for (int pass = 0; pass < 2; ++pass) {
    Tape tape;
    auto recording = ctx.record(tape);
    s.watch(tape);
    Tensor y = add(ctx, s.get("a", {3, 2}, {}), s.get("b", {3, 2}, {}));
    Tensor loss = ctx.zeros({1}, DType::f64);
    ctx.record_op("sum", {&y}, {&loss}, [y](Context&, Tape::Step& step) {
      auto d = step.into(y);
      for (int64_t i = 0; i < 6; ++i) d.grad.as<double>()[i] = static_cast<double>(i);
    });
    tape.backward(ctx, loss);
  }
  for (const char* name : {"a", "b"})
    CHECK(ctx.values(s.part(Role::gradient, *s.find(name))) ==
          std::vector<double>{0, 2, 4, 6, 8, 10});
}
