// Measures how long one launch of a kernel's variant takes.
//   cold: launches take turns on as many copies of the inputs as fill the last cache twice, so each
//         finds its inputs in memory; hot: launches follow one another on one copy.
// On the GPU a sample is one captured CUDA graph of many launches, timed by events, so the cost of
// launching is not in it. On the CPU it is a run of launches, timed by the steady clock.
#pragma once

#include "kernels/common/case.h"
#include "tools/timing.h"

namespace krait {

struct Measured {
  Timing cold;  // no samples: the inputs are too small to fill the caches
  Timing hot;
  const Timing& best_known() const { return cold.samples ? cold : hot; }
};

std::string device_name(Backend backend);
size_t cache_bytes(Backend backend);  // of the last cache before memory

// The time of one launch. The launches take turns.
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

}  // namespace krait
