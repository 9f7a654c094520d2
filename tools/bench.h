// Measures how long one launch of a kernel's variant takes.
//   cold: launches take turns on as many copies of the inputs as fill the last cache twice, so each
//         finds its inputs in memory; hot: launches follow one another on one copy.
// On the GPU a sample is one captured CUDA graph of many launches, timed by events, so the cost of
// launching is not in it. On the CPU it is a run of launches, timed by the steady clock.
#pragma once

#include <map>

#include "kernels/common/case.h"

namespace krait {

struct Timing {                          // seconds of one launch, over `samples` samples
  double median = 0, low = 0, high = 0;  // low, high: 10th and 90th percentile
  int samples = 0;
  double spread() const { return median > 0 ? (high - low) / median : 0; }
};
struct Measured {
  Timing cold;  // no samples: the inputs are too small to fill the caches
  Timing hot;
  const Timing& best_known() const { return cold.samples ? cold : hot; }
};

std::string device_name(Backend backend);

// The launches take turns.
Timing time_launches(Backend backend, const std::vector<Launcher>& launches);

// The inputs of a case on one backend, in several copies. Shared by all its variants.
class CaseCopies {
 public:
  CaseCopies(const KernelCase& c, Backend backend);
  Measured time(int v) const;
  Timing time_hot(int v) const;

 private:
  Backend backend_;
  bool overflow_cache_;
  std::vector<std::unique_ptr<CaseMemory>> memories_;
  std::vector<RowLauncher> rows_;
};

// What the device itself reaches; each is measured when it is first asked for.
class Peaks {
 public:
  double copy(Backend backend);                 // bytes per second read and written by a large copy
  double matmul(Backend backend, DType dtype);  // flop/s of a large product by the default row
  std::string text() const;                     // those measured so far

 private:
  std::map<Backend, double> copy_;
  std::map<std::pair<Backend, DType>, double> matmul_;
};

}  // namespace krait
