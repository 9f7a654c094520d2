// Tables, saved runs and the sizes of --shape, as text.
#include "tools/bench_report.h"

#include <charconv>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

namespace krait {
namespace {

std::string text(const char* format, double value) {
  char s[64];
  std::snprintf(s, sizeof s, format, value);
  return s;
}
std::string microseconds(const Timing& t) {
  if (!t.samples) return "-";
  const double us = t.median * 1e6;
  return text(us < 10 ? "%.2f" : us < 1000 ? "%.1f" : "%.0f", us);
}
// With its share of the device's peak: "1234 (45%)".
std::string rate(double value, double share) {
  if (value <= 0) return "-";
  return text(value < 1     ? "%.3g"
              : value < 100 ? "%.1f"
                            : "%.0f",
              value) +
         text(" (%.0f%%)", 100 * share);
}

constexpr const char* begin_mark = "<!-- bench -->";
constexpr const char* end_mark = "<!-- /bench -->";

}  // namespace

BenchReport::BenchReport(const std::filesystem::path& baseline) {
  if (baseline.empty()) return;
  std::ifstream file(baseline);
  KRAIT_INPUT(file, "--baseline: cannot read ", baseline.string());
  try {
    const auto saved = nlohmann::json::parse(file);
    for (const auto& r : saved.at("rows"))
      baseline_[r.at("key").get<std::string>()] = r.at("us").get<double>();
  } catch (const nlohmann::json::exception&) {
    throw InputError(cat("--baseline: ", baseline.string(), " was not written by --save"));
  }
  has_baseline_ = true;
}

// The device's name is part of it: times of two devices are not compared.
std::string BenchReport::key(const Row& r) const {
  return cat(r.kernel, " | ", r.size, " | ", r.variant, " | ", device_name(r.backend));
}

void BenchReport::print_head() const {
  std::printf("%-22s %-44s %-20s %9s %9s %7s  %-14s %-14s%s\n", "kernel", "size", "variant",
              "cold us", "hot us", "spread", "GB/s, share", "TFLOP/s, share",
              has_baseline_ ? " change" : "");
}

void BenchReport::add(const KernelCase& c, int v, const Measured& m) {
  const Backend backend = c.variant_backend(v);
  const Cost& cost = c.info().cost;
  const double seconds = m.best_known().median;
  Row r{c.folder(), c.kernel(), c.size(), c.variant_name(v), backend, m, 0, 0, 0, 0};
  if (cost.bytes > 0) {
    r.bytes_rate = cost.bytes / seconds;
    r.bytes_share = r.bytes_rate / peaks_.copy(backend);
  }
  if (cost.flops > 0) {
    // All other arithmetic is f32, whatever the type of the activations.
    const bool f32 = !cost.matrix || backend == Backend::cpu;
    r.flops_rate = cost.flops / seconds;
    r.flops_share = r.flops_rate / peaks_.matmul(backend, f32 ? DType::f32 : c.info().dtype);
  }
  std::printf("%-22s %-44s %-20s %9s %9s %7s  %-14s %-14s", r.kernel.c_str(), r.size.c_str(),
              r.variant.c_str(), microseconds(m.cold).c_str(), microseconds(m.hot).c_str(),
              text("%.1f%%", 100 * m.best_known().spread()).c_str(),
              rate(r.bytes_rate * 1e-9, r.bytes_share).c_str(),
              rate(r.flops_rate * 1e-12, r.flops_share).c_str());
  if (has_baseline_) {
    const auto old = baseline_.find(key(r));
    std::printf(" %s", old == baseline_.end()
                           ? "new"
                           : text("%+.1f%%", 100 * (seconds * 1e6 / old->second - 1)).c_str());
  }
  std::printf("\n");
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
                    {"us", r.time.best_known().median * 1e6},
                    {"cold", timing(r.time.cold)},
                    {"hot", timing(r.time.hot)},
                    {"bytes_per_s", r.bytes_rate},
                    {"flop_per_s", r.flops_rate}});
  std::ofstream file(path);
  file << nlohmann::json{{"rows", rows}}.dump(1) << "\n";
  file.close();
  KRAIT_INPUT(file, "--save: cannot write ", path.string());
}

void BenchReport::write_pages(const std::filesystem::path& source) const {
  std::set<std::string> folders;
  for (const Row& r : rows_) folders.insert(r.folder);
  for (const std::string& folder : folders) {
    const auto path = source / "kernels" / folder / (folder + ".md");
    std::ifstream in(path);
    const std::string page{std::istreambuf_iterator<char>(in), {}};
    const size_t begin = page.find(begin_mark), end = page.find(end_mark);
    if (begin == std::string::npos || end == std::string::npos || end < begin) {
      std::printf("%s has no %s: not written\n", path.c_str(), begin_mark);
      continue;
    }
    std::string table =
        "| kernel | size | variant | device | cold, us | hot, us | spread | GB/s | TFLOP/s |\n"
        "|---|---|---|---|---|---|---|---|---|\n";
    for (const Row& r : rows_) {
      if (r.folder != folder) continue;
      table += cat("| ", r.kernel, " | ", r.size, " | ", r.variant, " | ", device_name(r.backend),
                   " | ", microseconds(r.time.cold), " | ", microseconds(r.time.hot), " | ",
                   text("%.1f%%", 100 * r.time.best_known().spread()), " | ",
                   rate(r.bytes_rate * 1e-9, r.bytes_share), " | ",
                   rate(r.flops_rate * 1e-12, r.flops_share), " |\n");
    }
    std::ofstream out(path);
    out << page.substr(0, begin) << begin_mark << "\n\n"
        << table
        << "\nMedian; spread: from the 10th to the 90th percentile. In brackets the share of the "
           "peaks:\n"
        << peaks_.text() << ".\n\n"
        << page.substr(end);
    out.close();
    KRAIT_INPUT(out, "--markdown: cannot write ", path.string());
    std::printf("%s written\n", path.c_str());
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
