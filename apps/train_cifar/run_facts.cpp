// What a report says of a run besides its numbers.
#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>

#include "apps/train_cifar/trainer.h"
#include "engine/report/version.h"

namespace krait {

nlohmann::ordered_json Trainer::run_facts() const {
  const auto json = [](const std::string& text) { return nlohmann::ordered_json::parse(text); };
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char started[32];
  std::strftime(started, sizeof started, "%Y-%m-%d %H:%M:%S UTC", &utc);
  return {{"model", now_.model},
          {"data_set", test_set_.name},
          {"parameters", params_.count()},
          {"tokens", model_.tokens()},
          {"precision", type_ == DType::bf16 ? "bf16"
                        : ctx_.allow_tf32    ? "tf32"
                                             : "fp32"},
          {"device", ctx_.device().name},
          {"cpu", cpu_name()},
          {"seed", now_.seed},
          {"version", build_version()},
          {"started", started},
          {"epochs", options_.epochs},
          {"command", options_.command},
          {"config", json(now_.config)},
          {"options", json(to_json(options_))},
          {"defaults", json(to_json(TrainOptions{}))}};
}

}  // namespace krait
