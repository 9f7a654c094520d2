// Answers as lines.
#include "apps/classify/output.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <numeric>

namespace krait {
namespace {

// A field of a CSV file: in quotes if it needs them.
std::string field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

std::string json_line(const Answer& a, const std::vector<std::string>& names) {
  nlohmann::ordered_json j = {{"file", a.path}};
  if (a.fault.empty()) {
    j["classes"] = nlohmann::ordered_json::array();
    for (const auto& [c, p] : a.best)
      j["classes"].push_back({{"class", names[c]}, {"probability", p}});
  } else {
    j["error"] = a.fault;
  }
  return j.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string csv_line(const Answer& a, const std::vector<std::string>& names, int k) {
  std::string s = field(a.path) + "," + field(a.fault);
  for (int i = 0; i < k; ++i)
    s += a.fault.empty() ? fmt::format(",{},{}", field(names[a.best[i].first]), a.best[i].second)
                         : ",,";
  return s + "\n";
}

std::string text_line(const Answer& a, const std::vector<std::string>& names) {
  if (!a.fault.empty()) return "";
  std::string s = a.path + ":";
  for (size_t i = 0; i < a.best.size(); ++i)
    s += fmt::format("{} {} {:.4f}", i ? "," : "", names[a.best[i].first], a.best[i].second);
  return s + "\n";
}

}  // namespace

std::vector<std::pair<int, float>> most_probable(const float* probabilities, int C, int k) {
  std::vector<int> order(C);
  std::iota(order.begin(), order.end(), 0);
  k = std::min(k, C);
  std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](int a, int b) {
    return probabilities[a] != probabilities[b] ? probabilities[a] > probabilities[b] : a < b;
  });
  std::vector<std::pair<int, float>> best;
  for (int i = 0; i < k; ++i) best.emplace_back(order[i], probabilities[order[i]]);
  return best;
}

std::string header(Format format, int k) {
  if (format != Format::csv) return "";
  std::string s = "file,error";
  for (int i = 1; i <= k; ++i) s += fmt::format(",class_{},probability_{}", i, i);
  return s + "\n";
}

std::string line(Format format, const Answer& answer, const std::vector<std::string>& names,
                 int k) {
  return format == Format::jsonl ? json_line(answer, names)
         : format == Format::csv ? csv_line(answer, names, k)
                                 : text_line(answer, names);
}

}  // namespace krait
