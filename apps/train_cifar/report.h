// What a training leaves for a person to look at, renewed after every evaluated epoch: report.html,
// run.json, predictions.csv and TensorBoard's event file, in the output folder.
#pragma once

#include <span>

#include "engine/data/dataset.h"
#include "engine/report/event_file.h"
#include "engine/report/run_folder.h"
#include "kernels/common/step_state.h"

namespace krait {

class RunReport {
 public:
  // `run` becomes run.json; report_page.h says what is in it. Epochs before `next_epoch` are taken
  // from the folder's log.txt, and the report is written, so that a resumed run has one at once.
  // `test` must live as long. InputError if something cannot be written; so does add().
  RunReport(const std::filesystem::path& folder, nlohmann::ordered_json run, const Dataset& test,
            int64_t next_epoch);
  // `line`: what log.txt gets; `predictions`: none where the epoch was not evaluated; `best`: no
  // evaluation before was better.
  void add(const nlohmann::ordered_json& line, std::span<const Prediction> predictions, bool best);

 private:
  void write() const;
  std::filesystem::path folder_;
  nlohmann::ordered_json run_;
  const Dataset& test_;
  std::vector<LogLine> history_;
  Guesses last_, best_;
  EventFile events_;
};

// The machine's processor, "AMD EPYC 9B14, 16 threads".
std::string cpu_name();
// The words of a command line, quoted where a shell needs it.
std::string shell_line(int argc, const char* const* argv);

}  // namespace krait
