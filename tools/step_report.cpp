// The tables of whole steps.
#include "tools/step_report.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "tools/bench.h"

namespace krait {
namespace {

const char* name_of(StepMode mode) {
  return mode == StepMode::train ? "train" : mode == StepMode::remake ? "remake" : "infer";
}
std::string milliseconds(double seconds) {
  return short_number(seconds * 1e3);
}
std::string gib(size_t bytes) {
  return short_number(static_cast<double>(bytes) / (1 << 30));
}
// The device's name is part of it: times of two devices are not compared.
std::string key(const StepSetup& s) {
  return cat(s.model, " | ", s.image_size, " px | ", s.batch, " | ", name_of(s.mode), " | ",
             s.precision, " | ", device_name(s.backend));
}

}  // namespace

std::string share_table(const MeasuredStep& step) {
  const bool gpu = step.setup.backend == Backend::cuda;
  auto line = [&](const std::string& kernel, const std::string& variant, const std::string& count,
                  double seconds) {
    char s[160];
    std::snprintf(s, sizeof s, "  %-24s %-24s %6s %10s ms %6.1f%%\n", kernel.c_str(),
                  variant.c_str(), count.c_str(), milliseconds(seconds).c_str(),
                  100 * seconds / step.time.median);
    return std::string(s);
  };
  std::string text;
  for (const KernelTime& k : step.kernels)
    text += line(k.kernel, k.variant, std::to_string(k.count), k.seconds);
  // The kernels were timed in another run, one by one, without what runs beside them in the graph.
  text += line(gpu ? "(gaps, less overlap)" : "(between kernels)", "", "",
               step.time.median - step.kernel_seconds());
  if (gpu)
    text += cat("  Less ", number("%.2f", step.empty_launch * 1e6),
                " us a launch, which an empty kernel takes between two events.\n");
  return text;
}

void StepReport::add(MeasuredStep step) {
  const StepSetup& s = step.setup;
  std::printf(
      "%s, %d px, batch %lld, %s, %s, %s: %s ms (10th to 90th percentile %s to %s, %d "
      "samples)\n%s\n",
      s.model.c_str(), s.image_size, static_cast<long long>(s.batch), name_of(s.mode),
      s.precision.c_str(), device_name(s.backend).c_str(), milliseconds(step.time.median).c_str(),
      milliseconds(step.time.low).c_str(), milliseconds(step.time.high).c_str(), step.time.samples,
      share_table(step).c_str());
  std::fflush(stdout);
  steps_.push_back(std::move(step));
}

void StepReport::print() const {
  size_t width = 5;
  for (const MeasuredStep& step : steps_) width = std::max(width, step.setup.model.size());
  std::printf("%-*s %4s %6s %6s %-6s %-9s %9s %7s %9s %7s%s\n", static_cast<int>(width), "model",
              "px", "batch", "tokens", "mode", "precision", "ms", "spread", "images/s", "GiB",
              baseline_ ? "  change" : "");
  for (const MeasuredStep& step : steps_) {
    const StepSetup& s = step.setup;
    std::printf("%-*s %4d %6lld %6d %-6s %-9s %9s %7s %9s %7s%s%s\n", static_cast<int>(width),
                s.model.c_str(), s.image_size, static_cast<long long>(s.batch), step.tokens,
                name_of(s.mode), s.precision.c_str(), milliseconds(step.time.median).c_str(),
                number("%.1f%%", 100 * step.time.spread()).c_str(),
                short_number(step.images_per_second()).c_str(), gib(step.bytes).c_str(),
                baseline_ ? "  " : "", baseline_.change(key(s), step.time.median).c_str());
  }
}

void StepReport::save(const std::filesystem::path& file) const {
  nlohmann::json rows = nlohmann::json::array();
  for (const MeasuredStep& step : steps_) {
    const StepSetup& s = step.setup;
    nlohmann::json kernels = nlohmann::json::array();
    for (const KernelTime& k : step.kernels)
      kernels.push_back({{"kernel", k.kernel},
                         {"variant", k.variant},
                         {"count", k.count},
                         {"us", k.seconds * 1e6}});
    rows.push_back({{"key", key(s)},
                    {"model", s.model},
                    {"image_size", s.image_size},
                    {"batch", s.batch},
                    {"tokens", step.tokens},
                    {"mode", name_of(s.mode)},
                    {"precision", s.precision},
                    {"device", device_name(s.backend)},
                    {"us", step.time.median * 1e6},
                    {"p10_us", step.time.low * 1e6},
                    {"p90_us", step.time.high * 1e6},
                    {"samples", step.time.samples},
                    {"images_per_s", step.images_per_second()},
                    {"bytes", step.bytes},
                    {"kernels", kernels}});
  }
  write_file(file, nlohmann::json{{"rows", rows}}.dump(1) + "\n", "--save");
}

void StepReport::write_page(const std::filesystem::path& file) const {
  std::string table =
      "| model | pixels | batch | tokens | mode | precision | device | ms | spread | images/s | "
      "GiB "
      "|\n|---|---|---|---|---|---|---|---|---|---|---|\n";
  for (const MeasuredStep& step : steps_) {
    const StepSetup& s = step.setup;
    table += cat("| `", s.model, "` | ", s.image_size, " | ", s.batch, " | ", step.tokens, " | ",
                 name_of(s.mode), " | ", s.precision, " | ", device_name(s.backend), " | ",
                 milliseconds(step.time.median), " | ", number("%.1f%%", 100 * step.time.spread()),
                 " | ", short_number(step.images_per_second()), " | ", gib(step.bytes), " |\n");
  }
  const bool written = write_between_marks(file, "step", table);
  std::printf("%s %s\n", file.c_str(), written ? "written" : "has no <!-- step -->: not written");
}

}  // namespace krait
