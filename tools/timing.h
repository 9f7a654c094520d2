// kernel_lab's stopwatch, and what many of its readings come to.
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/common/cuda.h"
#include "kernels/common/kernel.h"

namespace krait {

struct Timing {                          // seconds, over `samples` samples
  double median = 0, low = 0, high = 0;  // low, high: 10th and 90th percentile
  int samples = 0;
  double spread() const { return median > 0 ? (high - low) / median : 0; }
};
Timing timing_of(std::vector<double> seconds);

struct Enough {  // when to stop sampling
  double seconds = 0.2;
  int fewest = 3, most = 1000;
};
// Calls `sample`, which gives the seconds of one of `count` equal pieces of work, until it is
// enough.
template <class F>
Timing gather(int64_t count, F&& sample, Enough enough = {}) {
  std::vector<double> seconds;
  double spent = 0;
  while (static_cast<int>(seconds.size()) < enough.most &&
         (spent < enough.seconds || static_cast<int>(seconds.size()) < enough.fewest)) {
    seconds.push_back(sample());
    spent += seconds.back() * static_cast<double>(count);
  }
  return timing_of(std::move(seconds));
}

double seconds_now();  // of a steady clock

// Times what is queued into a stream, by two events; on the CPU, what runs at once, by the clock.
class Stopwatch {
 public:
  explicit Stopwatch(Backend backend);
  ~Stopwatch();
  Stopwatch(const Stopwatch&) = delete;
  template <class F>
  double seconds(Stream stream, F&& queue) {
    start(stream);
    queue();
    return stop(stream);
  }

 private:
  void start(Stream stream);
  double stop(Stream stream);  // waits
  double started_ = 0;
#if KRAIT_CUDA
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
#endif
};

}  // namespace krait
