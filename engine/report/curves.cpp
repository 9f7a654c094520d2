// Picks the numbers of log.txt that are drawn.
#include "engine/report/curves.h"

#include <algorithm>
#include <cmath>

#include "engine/report/page.h"

namespace krait {
namespace {

struct Line {
  const char* logged;
  const char* name;
};

Series series_of(const RunCurves& run, const char* x, const char* logged, const std::string& name) {
  Series s{name, {}, {}};
  for (const LogLine& line : run.history) {
    const auto at_x = line.find(x), at_y = line.find(logged);
    if (at_x == line.end() || at_y == line.end()) continue;
    s.x.push_back(at_x->second + (x == std::string("epoch") ? 1 : 0));
    s.y.push_back(at_y->second);
  }
  return s;
}

// One chart: the lines of one run, or one line of all runs.
Chart chart_of(const std::vector<RunCurves>& runs, const std::string& title,
               const std::vector<Line>& lines) {
  Chart c{.title = title, .x_label = "epoch", .series = {}};
  for (const RunCurves& run : runs)
    for (const Line& line : lines)
      c.series.push_back(
          series_of(run, "epoch", line.logged, run.name.empty() ? line.name : run.name));
  return c;
}

bool counts(const LogLine& line, const std::string& name) {
  const auto at = line.find(name);
  return at != line.end() && std::isfinite(at->second);
}

std::string with_unit(Chart c, const std::string& unit, bool from_zero) {
  c.unit = unit;
  c.from_zero = from_zero;
  return chart_html(c);
}

}  // namespace

std::string curves_html(const std::vector<RunCurves>& runs) {
  std::string s;
  if (runs.size() == 1) {
    s += chart_html(
        chart_of(runs, "Loss",
                 {{"train_loss", "train"}, {"test_loss", "test"}, {"test_loss_ema", "test, EMA"}}));
    s += with_unit(
        chart_of(runs, "Accuracy, top-1", {{"test_acc1", "test"}, {"test_acc1_ema", "test, EMA"}}),
        "%", false);
    s += with_unit(
        chart_of(runs, "Accuracy, top-5", {{"test_acc5", "test"}, {"test_acc5_ema", "test, EMA"}}),
        "%", false);
  } else {
    s += with_unit(chart_of(runs, "Test accuracy, top-1", {{"test_acc1", ""}}), "%", false);
    Chart time{.title = "Test accuracy, top-1, over time", .x_label = "seconds", .series = {}};
    time.whole_x = false;
    time.unit = "%";
    for (const RunCurves& run : runs)
      time.series.push_back(series_of(run, "seconds", "test_acc1", run.name));
    s += chart_html(time);
    s += with_unit(
        chart_of(runs, "Test accuracy with averaged weights (EMA), top-1", {{"test_acc1_ema", ""}}),
        "%", false);
    s += chart_html(chart_of(runs, "Train loss", {{"train_loss", ""}}));
    s += chart_html(chart_of(runs, "Test loss", {{"test_loss", ""}}));
  }
  s += with_unit(chart_of(runs, "Learning rate", {{"train_lr", "learning rate"}}), "", true);
  s += with_unit(chart_of(runs, "Training speed, images/s", {{"images_per_second", "images/s"}}),
                 "", true);
  return "<div class=\"charts\">\n" + s + "</div>\n";
}

std::optional<ValueAt> last_of(const std::vector<LogLine>& history, const std::string& name) {
  std::optional<ValueAt> v;
  for (const LogLine& line : history)
    if (counts(line, name)) v = {line.at(name), static_cast<int64_t>(line.at("epoch")) + 1};
  return v;
}
std::optional<ValueAt> best_of(const std::vector<LogLine>& history, const std::string& name) {
  std::optional<ValueAt> v;
  for (const LogLine& line : history)
    if (counts(line, name) && (!v || line.at(name) > v->value))
      v = {line.at(name), static_cast<int64_t>(line.at("epoch")) + 1};
  return v;
}
std::optional<double> median_of(const std::vector<LogLine>& history, const std::string& name) {
  std::vector<double> all;
  for (const LogLine& line : history)
    if (counts(line, name)) all.push_back(line.at(name));
  if (all.empty()) return {};
  std::nth_element(all.begin(), all.begin() + all.size() / 2, all.end());
  return all[all.size() / 2];
}

}  // namespace krait
