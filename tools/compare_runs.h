// Several trainings side by side, from what each left in its output folder.
#pragma once

#include <string>
#include <vector>

#include "engine/report/run_folder.h"

namespace krait {

struct Run {
  std::string name;            // the folder's last part, or its path where that is not enough
  nlohmann::ordered_json run;  // run.json; an empty object where there is none
  std::vector<LogLine> history;
};
// InputError if a folder is not one, or holds no line of log.txt.
std::vector<Run> read_runs(const std::vector<std::string>& folders);

using Table = std::vector<std::vector<std::string>>;  // the first row is the head
Table results_of(const std::vector<Run>& runs);       // a row for each run
// Facts and options that are not the same in all runs: a row for each. Only a head: none.
Table differences_of(const std::vector<Run>& runs);
std::string as_text(const Table& table);  // columns aligned, two spaces between them
std::string comparison_page(const std::vector<Run>& runs);

}  // namespace krait
