// What kernel_lab bench and sweep print, save, compare and write into a kernel's page.
#pragma once

#include <filesystem>

#include "tools/bench.h"

namespace krait {

class BenchReport {
 public:
  // A baseline is read now, so that a bad file is found before anything is measured. Empty: none.
  explicit BenchReport(const std::filesystem::path& baseline);
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
    double bytes_rate, bytes_share, flops_rate, flops_share;  // 0: the case states no cost
  };
  std::string key(const Row& r) const;
  Peaks peaks_;
  std::vector<Row> rows_;
  bool has_baseline_ = false;
  std::map<std::string, double> baseline_;  // by key: microseconds
};

// "B=128|512,L=64" as one entry for each choice. Throws InputError.
std::vector<std::map<std::string, int64_t>> parse_shapes(const std::string& text);

}  // namespace krait
