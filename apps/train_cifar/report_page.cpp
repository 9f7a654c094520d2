// The page's summary, curves, options and numbers.
#include "apps/train_cifar/report_page.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "apps/train_cifar/progress.h"
#include "engine/report/curves.h"
#include "engine/report/page.h"

namespace krait {
namespace {

using Json = nlohmann::ordered_json;

// A value of run.json as one would write it: text without quotes, nothing for null.
std::string shown(const Json& j) {
  if (j.is_null()) return "";
  return j.is_string() ? j.get<std::string>() : j.dump();
}
std::string shown(const Json& run, const char* name) {
  return run.is_object() && run.contains(name) ? shown(run[name]) : "";
}

std::string cards(const Json& run, const std::vector<LogLine>& history) {
  if (history.empty()) return "<p>No epoch has been evaluated yet.</p>\n";
  std::string s;
  const auto percent = [](double v) { return fmt::format("{:.2f} %", v); };
  for (const auto& [name, label] : {std::pair{"test_acc1", "test accuracy"},
                                    std::pair{"test_acc1_ema", "with averaged weights (EMA)"}}) {
    const auto last = last_of(history, name), best = best_of(history, name);
    if (!last) continue;
    s += card_html(label, percent(last->value), fmt::format("after epoch {}", last->epoch));
    s += card_html(std::string("best ") + label, percent(best->value),
                   fmt::format("after epoch {}", best->epoch));
  }
  if (const auto v = last_of(history, "test_acc5"))
    s += card_html("among the first five", percent(v->value), "top-5 of the test set");
  if (const auto v = last_of(history, "test_loss"))
    s += card_html("test loss", fmt::format("{:.4f}", v->value), "cross-entropy");
  const std::string epochs = shown(run, "epochs");
  s += card_html("epochs", fmt::format("{:.0f}", history.back().at("epoch") + 1),
                 epochs.empty() ? "" : "of " + epochs);
  if (const auto v = last_of(history, "seconds")) s += card_html("time", human_time(v->value));
  if (const auto v = median_of(history, "images_per_second"))
    s += card_html("images/s", fmt::format("{:.0f}", *v), "training, median of the epochs");
  if (const std::string n = shown(run, "parameters"); !n.empty()) s += card_html("parameters", n);
  return "<ul class=\"cards\">\n" + s + "</ul>\n";
}

std::string facts(const Json& run) {
  std::vector<std::vector<Cell>> rows;
  for (const auto& [name, label] :
       {std::pair{"model", "model"}, std::pair{"data_set", "data set"},
        std::pair{"parameters", "parameters"}, std::pair{"precision", "precision"},
        std::pair{"device", "device"}, std::pair{"cpu", "processor"}, std::pair{"seed", "seed"},
        std::pair{"version", "version of krait"}, std::pair{"started", "started"}})
    if (const std::string v = shown(run, name); !v.empty()) rows.push_back({{label}, {escaped(v)}});
  if (const std::string v = shown(run, "command"); !v.empty())
    rows.push_back({{"command"}, {"<code>" + escaped(v) + "</code>"}});
  return table_html("", {}, rows, "facts");
}

std::string options(const Json& run) {
  if (!run.is_object() || !run.contains("options")) return "";
  std::vector<std::vector<Cell>> changed, rest;
  const Json defaults = run.value("defaults", Json::object());
  for (const auto& [name, value] : run["options"].items()) {
    const bool differs = defaults.contains(name) && defaults[name] != value;
    (differs ? changed : rest)
        .push_back({{escaped("--" + name)},
                    {escaped(shown(value))},
                    {differs ? escaped(shown(defaults[name])) : ""}});
  }
  std::string s;
  if (changed.empty())
    s = "<p>Every option has its default.</p>\n";
  else
    s = table_html("Different from the defaults", {"option", "value", "default"}, changed, "facts");
  return s + "<details><summary>All other options (" + std::to_string(rest.size()) +
         ")</summary>\n" +
         table_html(
             "", {"option", "value"},
             [&] {
               for (auto& row : rest) row.pop_back();
               return rest;
             }(),
             "facts") +
         "</details>\n";
}

std::string numbers(const std::vector<LogLine>& history) {
  const std::pair<const char*, const char*> columns[] = {
      {"train_loss", "train loss"},      {"test_loss", "test loss"},
      {"test_acc1", "top-1 %"},          {"test_acc5", "top-5 %"},
      {"test_loss_ema", "EMA loss"},     {"test_acc1_ema", "EMA top-1 %"},
      {"test_acc5_ema", "EMA top-5 %"},  {"train_lr", "learning rate"},
      {"images_per_second", "images/s"}, {"seconds", "seconds"}};
  std::vector<std::string> head = {"epoch"};
  std::vector<const char*> kept;  // what was logged at all
  for (const auto& [name, label] : columns)
    if (last_of(history, name)) {
      head.push_back(label);
      kept.push_back(name);
    }
  std::vector<std::vector<Cell>> rows;
  for (const LogLine& line : history) {
    std::vector<Cell> row = {{fmt::format("{:.0f}", line.at("epoch") + 1)}};
    for (const char* name : kept) {
      const auto at = line.find(name);
      row.push_back({at == line.end() ? "" : fmt::format("{:.5g}", at->second), " class=\"n\""});
    }
    rows.push_back(row);
  }
  return "<details><summary>All numbers as a table</summary>\n" + table_html("", head, rows) +
         "</details>\n";
}

}  // namespace

std::string report_page(const Json& run, const std::vector<LogLine>& history, const Guesses& last,
                        const Guesses& best, const Dataset& test) {
  const std::string title = shown(run, "model") + " on " + test.name;
  std::string body = fmt::format("<h1>{}</h1>\n<p class=\"dim\">{}</p>\n", escaped(title),
                                 escaped(fmt::format("{}, {}, seed {}", shown(run, "device"),
                                                     shown(run, "precision"), shown(run, "seed"))));
  body += cards(run, history);
  if (!history.empty())
    body += section_html("Curves", curves_html({{"", history}}) + numbers(history));
  body += classes_html(last, best, test) + mistakes_html(last, test);
  if (!last.of.empty() && run.is_object() &&
      shown(run.value("options", Json::object()), "result") == "ema")
    body += "<p class=\"dim\">Classes and mistakes are those of the averaged weights (EMA).</p>\n";
  body += section_html("Run", facts(run)) + section_html("Options", options(run));
  return page_html(title, body);
}

}  // namespace krait
