// Tables, saved runs and the sizes of --shape, as text.
#include "tools/bench_report.h"

#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>

namespace krait {
namespace {

std::string microseconds(const Timing& t) {
  return t.samples ? short_number(t.median * 1e6) : "-";
}
std::string spread(const Measured& m) {
  return number("%.1f%%", 100 * m.best_known().spread());
}

}  // namespace

std::string BenchReport::Row::rate(double work, double peak, double unit) const {
  if (work <= 0) return "-";
  const double value = work / seconds();
  return short_number(value / unit) + (peak > 0 ? number(" (%.0f%%)", 100 * value / peak) : "");
}
std::string BenchReport::Row::reached() const {
  if (floor.seconds <= 0) return "-";
  return short_number(floor.seconds * 1e6) + " " + floor.by +
         number(", %.0f%%", 100 * floor.seconds / seconds());
}

// The device's name is part of it: times of two devices are not compared.
std::string BenchReport::key(const Row& r) const {
  return cat(r.kernel, " | ", r.size, " | ", r.variant, " | ", device_name(r.backend));
}

void BenchReport::print_head() const {
  std::printf("%-22s %-44s %-20s %9s %9s %7s  %-13s %-13s %-13s %-20s%s\n", "kernel", "size",
              "variant", "cold us", "hot us", "spread", "GB/s", "TFLOP/s", "Gexp/s",
              "floor us, reached", baseline_ ? " change" : "");
}

void BenchReport::add(const KernelCase& c, int v, const Measured& m) {
  const Backend backend = c.variant_backend(v);
  const Cost& cost = c.info().cost;
  Row r{.folder = c.folder(),
        .kernel = c.kernel(),
        .size = c.size(),
        .variant = c.variant_name(v),
        .backend = backend,
        .time = m,
        .cost = cost,
        .rates = peaks_.rates(cost, backend, c.info().dtype),
        .floor = {}};
  r.floor = floor_of(cost, r.rates);
  std::printf(
      "%-22s %-44s %-20s %9s %9s %7s  %-13s %-13s %-13s %-20s%s%s\n", r.kernel.c_str(),
      r.size.c_str(), r.variant.c_str(), microseconds(m.cold).c_str(), microseconds(m.hot).c_str(),
      spread(m).c_str(), r.rate(cost.bytes, r.rates.bytes, 1e9).c_str(),
      r.rate(cost.flops, r.rates.flops, 1e12).c_str(), r.rate(cost.exps, r.rates.exps, 1e9).c_str(),
      r.reached().c_str(), baseline_ ? " " : "", baseline_.change(key(r), r.seconds()).c_str());
  std::fflush(stdout);
  rows_.push_back(std::move(r));
}

void BenchReport::print_peaks() const {
  const std::string text = peaks_.text();
  if (!text.empty()) std::printf("peaks: %s\n", text.c_str());
}

void BenchReport::save(const std::filesystem::path& path) const {
  auto timing = [](const Timing& t) {
    return nlohmann::json{{"median_us", t.median * 1e6},
                          {"p10_us", t.low * 1e6},
                          {"p90_us", t.high * 1e6},
                          {"samples", t.samples}};
  };
  nlohmann::json rows = nlohmann::json::array();
  for (const Row& r : rows_)
    rows.push_back({{"key", key(r)},
                    {"kernel", r.kernel},
                    {"size", r.size},
                    {"variant", r.variant},
                    {"device", device_name(r.backend)},
                    {"us", r.seconds() * 1e6},
                    {"cold", timing(r.time.cold)},
                    {"hot", timing(r.time.hot)},
                    {"bytes_per_s", r.cost.bytes / r.seconds()},
                    {"flop_per_s", r.cost.flops / r.seconds()},
                    {"exp_per_s", r.cost.exps / r.seconds()},
                    {"floor_us", r.floor.seconds * 1e6},
                    {"floor_by", r.floor.by}});
  write_file(path, nlohmann::json{{"peaks", peaks_.text()}, {"rows", rows}}.dump(1) + "\n",
             "--save");
}

void BenchReport::write_pages(const std::filesystem::path& source) const {
  std::set<std::string> folders;
  for (const Row& r : rows_) folders.insert(r.folder);
  for (const std::string& folder : folders) {
    std::string table =
        "| kernel | size | variant | device | cold, us | hot, us | spread | GB/s | TFLOP/s | "
        "Gexp/s "
        "| floor, us; reached |\n|---|---|---|---|---|---|---|---|---|---|---|\n";
    for (const Row& r : rows_)
      if (r.folder == folder)
        table += cat("| ", r.kernel, " | ", r.size, " | ", r.variant, " | ", device_name(r.backend),
                     " | ", microseconds(r.time.cold), " | ", microseconds(r.time.hot), " | ",
                     spread(r.time), " | ", r.rate(r.cost.bytes, r.rates.bytes, 1e9), " | ",
                     r.rate(r.cost.flops, r.rates.flops, 1e12), " | ",
                     r.rate(r.cost.exps, r.rates.exps, 1e9), " | ", r.reached(), " |\n");
    table +=
        cat("\nMedian; spread: from the 10th to the 90th percentile. In brackets: share of the "
            "device's peak. Floor: what\nthe work takes at those peaks, and its share of the "
            "time. Peaks: ",
            peaks_.text(), ".\n");
    const auto path = source / "kernels" / folder / (folder + ".md");
    const bool written = write_between_marks(path, "bench", table);
    std::printf("%s %s\n", path.c_str(),
                written ? "written" : "has no <!-- bench -->: not written");
  }
}

std::vector<std::map<std::string, int64_t>> parse_shapes(const std::string& text) {
  std::vector<std::map<std::string, int64_t>> shapes{{}};
  size_t at = 0;
  while (at <= text.size()) {
    const size_t comma = std::min(text.find(',', at), text.size());
    const std::string part = text.substr(at, comma - at);
    const size_t equals = part.find('=');
    KRAIT_INPUT(equals != std::string::npos && equals > 0, "--shape: '", part,
                "' is not a letter and a number, as in B=512");
    const std::string letter = part.substr(0, equals);
    KRAIT_INPUT(!shapes.front().contains(letter), "--shape: ", letter, " is given twice");
    std::vector<std::map<std::string, int64_t>> with;
    std::vector<int64_t> values;
    for (size_t v = equals + 1; v <= part.size();) {
      const size_t bar = std::min(part.find('|', v), part.size());
      int64_t value = 0;
      const char *first = part.data() + v, *last = part.data() + bar;
      const auto [stop, error] = std::from_chars(first, last, value);
      KRAIT_INPUT(error == std::errc() && stop == last, "--shape: '", part.substr(v, bar - v),
                  "' in '", part, "' is not a number");
      values.push_back(value);
      v = bar + 1;
    }
    for (const auto& shape : shapes)
      for (int64_t value : values) {
        with.push_back(shape);
        with.back()[letter] = value;
      }
    shapes = std::move(with);
    at = comma + 1;
  }
  return shapes;
}

}  // namespace krait
