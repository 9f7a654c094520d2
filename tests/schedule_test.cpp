// The learning rate over time.
#include "engine/schedule.h"

#include <cmath>
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "engine/safetensors.h"

using namespace krait;

TEST_CASE("schedule: as the published recipe runs it") {
  const SafeTensors bundle =
      read_safetensors(KRAIT_SOURCE_DIR "/tests/golden/schedule_seed_200.safetensors");
  const auto hyper = nlohmann::json::parse(bundle.metadata.at("hyper"));
  Schedule s{.lr = hyper["lr"],
             .warmup_lr = hyper["warmup_lr"],
             .min_lr = hyper["min_lr"],
             .epochs = hyper["epochs"],
             .warmup_epochs = hyper["warmup_epochs"]};
  const auto lr = bundle.at("out.lr").values();
  REQUIRE(lr.size() == 210);
  for (size_t e = 0; e < lr.size(); ++e) {
    CAPTURE(e);
    CHECK(std::abs(s.during_epoch(static_cast<int64_t>(e)) - lr[e]) < 1e-9);
  }
}

TEST_CASE("schedule: stepped with every optimiser step") {
  const Schedule s{.lr = 1e-3, .warmup_lr = 1e-6, .min_lr = 1e-5, .epochs = 20, .warmup_epochs = 1};
  const int64_t per = 97;
  CHECK(s.during_step(0, per) == doctest::Approx(1e-6 + (1e-3 - 1e-6) / 97).epsilon(1e-12));
  CHECK(s.during_step(96, per) == doctest::Approx(1e-3).epsilon(1e-12));
  CHECK(s.during_step(97, per) == doctest::Approx(1e-3).epsilon(1e-12));
  CHECK(s.during_step(97 + 19 * 97 / 2, per) == doctest::Approx(5.05e-4).epsilon(1e-3));
  CHECK(s.during_step(20 * 97 - 1, per) == doctest::Approx(1e-5).epsilon(1e-2));
  CHECK(s.during_step(20 * 97, per) == 1e-5);
  for (int64_t i = 97; i < 20 * 97; ++i) CHECK(s.during_step(i + 1, per) <= s.during_step(i, per));
}

TEST_CASE("schedule: constant, and without warm-up") {
  const Schedule constant{
      .lr = 1e-3, .epochs = 10, .warmup_epochs = 2, .kind = Schedule::Kind::constant};
  CHECK(constant.during_step(500, 10) == 1e-3);
  CHECK(constant.during_epoch(9) == 1e-3);
  CHECK(constant.during_epoch(1) == 1e-6);
  const Schedule cold{.lr = 1e-3, .min_lr = 0, .epochs = 10, .warmup_epochs = 0};
  CHECK(cold.during_step(0, 10) == 1e-3);
  CHECK(cold.during_step(50, 10) == doctest::Approx(5e-4));
  CHECK(cold.during_epoch(0) == 1e-3);
}

TEST_CASE("schedule: step, linear and tanh against their formulas, in epochs as timm has them") {
  using Kind = Schedule::Kind;
  Schedule s{.lr = 0.1, .warmup_lr = 1e-3, .min_lr = 1e-4, .epochs = 100, .warmup_epochs = 5};
  s.kind = Kind::step;
  s.decay_epochs = 30;
  s.decay_rate = 0.2;
  CHECK(s.during_epoch(3) == doctest::Approx(1e-3 + 2 * (0.1 - 1e-3) / 5));
  CHECK(s.during_epoch(30) == doctest::Approx(0.1));  // one epoch late, as the published trainer
  CHECK(s.during_epoch(31) == doctest::Approx(0.1 * 0.2));
  CHECK(s.during_epoch(91) == doctest::Approx(0.1 * 0.2 * 0.2 * 0.2));
  s.kind = Kind::linear;
  CHECK(s.during_epoch(51) == doctest::Approx(1e-4 + (0.1 - 1e-4) * 0.5));
  CHECK(s.during_epoch(101) == 1e-4);
  s.kind = Kind::tanh;
  auto tanh_at = [](double t) {
    return 1e-4 + 0.5 * (0.1 - 1e-4) * (1 - std::tanh(-6 * (1 - t / 100) + 4 * (t / 100)));
  };
  CHECK(s.during_epoch(1) == 1e-3);
  CHECK(s.during_epoch(5) == doctest::Approx(1e-3 + 4 * (tanh_at(5) - 1e-3) / 5));
  CHECK(s.during_epoch(61) == doctest::Approx(tanh_at(60)));
}

TEST_CASE("schedule: step, linear and tanh with every optimiser step") {
  using Kind = Schedule::Kind;
  Schedule s{.lr = 1, .warmup_lr = 0, .min_lr = 0.1, .epochs = 10, .warmup_epochs = 2};
  s.decay_epochs = 4;
  s.decay_rate = 0.5;
  const int64_t per = 10;
  for (Kind kind : {Kind::linear, Kind::tanh, Kind::step}) {
    s.kind = kind;
    CHECK(s.during_step(0, per) == doctest::Approx(1.0 / 20));
    CHECK(s.during_step(19, per) == doctest::Approx(1.0));
  }
  s.kind = Kind::linear;
  CHECK(s.during_step(20, per) == doctest::Approx(1.0));
  CHECK(s.during_step(60, per) == doctest::Approx(0.55));
  CHECK(s.during_step(100, per) == 0.1);
  s.kind = Kind::tanh;
  CHECK(s.during_step(68, per) == doctest::Approx(0.55));  // 0.6 of the way: tanh 0
  s.kind = Kind::step;
  CHECK(s.during_step(39, per) == 1);
  CHECK(s.during_step(40, per) == 0.5);
  CHECK(s.during_step(80, per) == 0.25);
}
