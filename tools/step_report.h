// What kernel_lab step prints, saves, compares and writes into the README.
#pragma once

#include "tools/report.h"
#include "tools/step_bench.h"

namespace krait {

class StepReport {
 public:
  explicit StepReport(const std::filesystem::path& baseline) : baseline_(baseline) {}
  void add(MeasuredStep step);                         // prints the share of each kernel
  void print() const;                                  // one line for each step
  void save(const std::filesystem::path& file) const;  // JSON
  // The same lines as a table between <!-- step --> and <!-- /step --> of an .md file.
  void write_page(const std::filesystem::path& file) const;

 private:
  std::vector<MeasuredStep> steps_;
  Baseline baseline_;
};

// The share of each kernel, and what the rest of the step's time is.
std::string share_table(const MeasuredStep& step);

}  // namespace krait
