// The learning rate over time.
#include "engine/schedule.h"

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
  const Schedule constant{.lr = 1e-3, .epochs = 10, .warmup_epochs = 2, .constant = true};
  CHECK(constant.during_step(500, 10) == 1e-3);
  CHECK(constant.during_epoch(9) == 1e-3);
  CHECK(constant.during_epoch(1) == 1e-6);
  const Schedule cold{.lr = 1e-3, .min_lr = 0, .epochs = 10, .warmup_epochs = 0};
  CHECK(cold.during_step(0, 10) == 1e-3);
  CHECK(cold.during_step(50, 10) == doctest::Approx(5e-4));
  CHECK(cold.during_epoch(0) == 1e-3);
}
