// Reads runs, finds out what differs, and writes tables and the page.
#include "tools/compare_runs.h"

#include <algorithm>
#include <fmt/format.h>
#include <set>

#include "engine/report/curves.h"
#include "engine/report/page.h"
#include "kernels/common/error.h"

namespace krait {
namespace {

// Where a run was, not what it was.
const std::set<std::string> not_compared = {"output_dir", "resume", "data-path", "print-every"};

std::string shown(const nlohmann::ordered_json& j) {
  if (j.is_null()) return "-";
  return j.is_string() ? j.get<std::string>() : j.dump();
}

std::string value_at(const std::optional<ValueAt>& v, bool with_epoch) {
  if (!v) return "-";
  return with_epoch ? fmt::format("{:.2f} ({})", v->value, v->epoch)
                    : fmt::format("{:.2f}", v->value);
}

std::string time_text(double seconds) {
  const auto s = static_cast<int64_t>(seconds + 0.5);
  return s < 3600 ? fmt::format("{}:{:02}", s / 60, s % 60)
                  : fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

std::vector<std::string> result_row(const Run& run) {
  const auto& h = run.history;
  const auto seconds = last_of(h, "seconds");
  const auto speed = median_of(h, "images_per_second");
  std::string epochs = fmt::format("{:.0f}", h.back().at("epoch") + 1);
  if (run.run.contains("epochs")) epochs += "/" + shown(run.run["epochs"]);
  return {run.name,
          value_at(last_of(h, "test_acc1"), false),
          value_at(best_of(h, "test_acc1"), true),
          value_at(last_of(h, "test_acc1_ema"), false),
          value_at(best_of(h, "test_acc1_ema"), true),
          epochs,
          seconds ? time_text(seconds->value) : "-",
          speed ? fmt::format("{:.0f}", *speed) : "-"};
}

// Every name in any of the objects, in the order met.
std::vector<std::string> names_in(const std::vector<nlohmann::ordered_json>& objects) {
  std::vector<std::string> names;
  for (const auto& object : objects)
    for (const auto& [name, value] : object.items())
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  return names;
}

// `defaults`: what counts where an object lacks a name: an older version did not have the option.
void add_differences(Table& table, const std::vector<nlohmann::ordered_json>& objects,
                     const std::vector<std::string>& names, const std::string& prefix,
                     const nlohmann::ordered_json& defaults) {
  for (const std::string& name : names) {
    std::vector<std::string> row = {prefix + name};
    std::set<std::string> values;
    for (const auto& object : objects) {
      row.push_back(object.contains(name) ? shown(object[name]) : "-");
      values.insert(object.contains(name)     ? row.back()
                    : defaults.contains(name) ? shown(defaults[name])
                                              : "-");
    }
    if (values.size() > 1) table.push_back(row);
  }
}

std::string html_of(const Table& table, const std::string& caption) {
  std::vector<std::vector<Cell>> rows;
  for (size_t r = 1; r < table.size(); ++r) {
    std::vector<Cell> row;
    for (const std::string& text : table[r]) row.push_back({escaped(text)});
    rows.push_back(row);
  }
  return table_html(caption, table[0], rows);
}

}  // namespace

std::vector<Run> read_runs(const std::vector<std::string>& folders) {
  std::vector<Run> runs;
  std::map<std::string, int> uses;
  for (const std::string& folder : folders) {
    KRAIT_INPUT(std::filesystem::is_directory(folder), folder, " is not a folder");
    Run run;
    run.name = std::filesystem::path(folder).lexically_normal().filename().string();
    if (run.name.empty())  // "a/b/"
      run.name = std::filesystem::path(folder).lexically_normal().parent_path().filename().string();
    ++uses[run.name];
    run.history = read_log(folder);
    KRAIT_INPUT(!run.history.empty(), folder, " holds no run: there is no log.txt with an epoch");
    run.run = read_run(folder);
    if (run.run.is_null()) run.run = nlohmann::ordered_json::object();
    runs.push_back(run);
  }
  for (size_t i = 0; i < runs.size(); ++i)
    if (uses[runs[i].name] > 1) runs[i].name = folders[i];
  return runs;
}

Table results_of(const std::vector<Run>& runs) {
  Table table = {{"run", "final %", "best % (epoch)", "EMA final %", "EMA best % (epoch)", "epochs",
                  "time", "images/s"}};
  for (const Run& run : runs) table.push_back(result_row(run));
  return table;
}

Table differences_of(const std::vector<Run>& runs) {
  Table table = {{"option"}};
  std::vector<nlohmann::ordered_json> facts, options;
  auto defaults = nlohmann::ordered_json::object();
  for (const Run& run : runs) {
    table[0].push_back(run.name);
    facts.push_back(run.run);
    options.push_back(run.run.value("options", nlohmann::ordered_json::object()));
    defaults.update(run.run.value("defaults", nlohmann::ordered_json::object()));
  }
  add_differences(table, facts,
                  {"model", "data_set", "parameters", "precision", "device", "cpu", "version"}, "",
                  {});
  auto names = names_in(options);
  std::erase_if(names, [](const std::string& n) { return not_compared.count(n) || n == "model"; });
  add_differences(table, options, names, "--", defaults);
  return table;
}

std::string as_text(const Table& table) {
  std::vector<size_t> width(table[0].size());
  for (const auto& row : table)
    for (size_t i = 0; i < row.size(); ++i) width[i] = std::max(width[i], row[i].size());
  std::string text;
  for (const auto& row : table) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) line += fmt::format("{:<{}}", row[i], width[i] + 2);
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

std::string comparison_page(const std::vector<Run>& runs) {
  std::vector<RunCurves> curves;
  for (const Run& run : runs) curves.push_back({run.name, run.history});
  const Table differences = differences_of(runs);
  const std::string title = fmt::format("{} runs compared", runs.size());
  return page_html(title,
                   fmt::format("<h1>{}</h1>\n", escaped(title)) +
                       section_html("Results", html_of(results_of(runs), "")) +
                       section_html("Curves", curves_html(curves)) +
                       section_html("What differs", differences.size() > 1
                                                        ? html_of(differences, "")
                                                        : "<p>All options are the same.</p>\n"));
}

}  // namespace krait
