// Numbers, baselines and marked tables.
#include "tools/report.h"

#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/common/error.h"

namespace krait {

std::string number(const char* format, double value) {
  char s[64];
  std::snprintf(s, sizeof s, format, value);
  return s;
}
std::string short_number(double value) {
  const double size = std::abs(value);
  return number(size < 1 ? "%.3g" : size < 10 ? "%.2f" : size < 1000 ? "%.1f" : "%.0f", value);
}

Baseline::Baseline(const std::filesystem::path& path) {
  if (path.empty()) return;
  std::ifstream file(path);
  KRAIT_INPUT(file, "--baseline: cannot read ", path.string());
  try {
    const auto saved = nlohmann::json::parse(file);
    for (const auto& r : saved.at("rows"))
      microseconds_[r.at("key").get<std::string>()] = r.at("us").get<double>();
  } catch (const nlohmann::json::exception&) {
    throw InputError(cat("--baseline: ", path.string(), " was not written by --save"));
  }
  there_ = true;
}
std::string Baseline::change(const std::string& key, double seconds) const {
  if (!there_) return "";
  const auto old = microseconds_.find(key);
  if (old == microseconds_.end()) return "new";
  return number("%+.1f%%", 100 * (seconds * 1e6 / old->second - 1));
}

bool write_between_marks(const std::filesystem::path& file, const std::string& name,
                         const std::string& text) {
  const std::string begin_mark = "<!-- " + name + " -->", end_mark = "<!-- /" + name + " -->";
  std::ifstream in(file);
  const std::string page{std::istreambuf_iterator<char>(in), {}};
  const size_t begin = page.find(begin_mark), end = page.find(end_mark);
  if (begin == std::string::npos || end == std::string::npos || end < begin) return false;
  write_file(file, page.substr(0, begin) + begin_mark + "\n\n" + text + "\n" + page.substr(end),
             "--markdown");
  return true;
}

void write_file(const std::filesystem::path& path, const std::string& text, const char* option) {
  std::ofstream file(path);
  file << text;
  file.close();
  KRAIT_INPUT(file, option, ": cannot write ", path.string());
}
void check_writable(const std::filesystem::path& path, const char* option) {
  KRAIT_INPUT(path.empty() || std::ofstream(path, std::ios::app), option, ": cannot write ",
              path.string());
}

}  // namespace krait
