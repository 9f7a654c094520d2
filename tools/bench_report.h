// What kernel_lab bench and sweep print, save, compare and write into a kernel's page.
#pragma once

#include "tools/bench.h"
#include "tools/peaks.h"
#include "tools/report.h"

namespace krait {

class BenchReport {
 public:
  // The baseline is read now, so that a bad file is found before anything is measured.
  explicit BenchReport(const std::filesystem::path& baseline) : baseline_(baseline) {}
  void print_head() const;
  void add(const KernelCase& c, int v, const Measured& m);  // prints the line
  void print_peaks() const;
  void save(const std::filesystem::path& file) const;  // JSON
  // Rewrites what stands between <!-- bench --> and <!-- /bench --> in kernels/<k>/<k>.md.
  void write_pages(const std::filesystem::path& source) const;

 private:
  struct Row {
    std::string folder, kernel, size, variant;
    Backend backend;
    Measured time;
    Cost cost;
    Rates rates;
    Floor floor;
    double seconds() const { return time.best_known().median; }
    // "1234 (45%)": so much of `work` in a second, in units of `unit`, and its share of the peak.
    std::string rate(double work, double peak, double unit) const;
    std::string reached() const;  // "60.2 exp, 63%": the floor in us, and its share of the time
  };
  std::string key(const Row& r) const;
  Peaks peaks_;
  std::vector<Row> rows_;
  Baseline baseline_;
};

// "B=128|512,L=64" as one entry for each choice. Throws InputError.
std::vector<std::map<std::string, int64_t>> parse_shapes(const std::string& text);

}  // namespace krait
