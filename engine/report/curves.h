// The curves of one run, or of several over each other.
#pragma once

#include <optional>

#include "engine/report/run_folder.h"

namespace krait {

struct RunCurves {
  std::string name;  // "" where there is only one run
  std::vector<LogLine> history;
};
// Charts over epochs (those that ended: the first is 1): losses, accuracies, learning rate,
// images/s; for several runs also the accuracy over time.
std::string curves_html(const std::vector<RunCurves>& runs);

struct ValueAt {
  double value = 0;
  int64_t epoch = 0;  // from 1
};
// Of the lines that have a finite number of that name; nothing if there is none.
std::optional<ValueAt> last_of(const std::vector<LogLine>& history, const std::string& name);
std::optional<ValueAt> best_of(const std::vector<LogLine>& history, const std::string& name);
std::optional<double> median_of(const std::vector<LogLine>& history, const std::string& name);

}  // namespace krait
