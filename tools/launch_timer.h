// How the time of a step is shared out among its kernels.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/context.h"
#include "tools/timing.h"

namespace krait {

struct KernelTime {
  std::string kernel, variant;
  int64_t count = 0;   // launches in a step
  double seconds = 0;  // of all of them together, in the median of the steps
};

// Adds times up by kernel and variant.
class KernelTimes {
 public:
  void add(const std::string& kernel, const std::string& variant, double seconds);
  void end_step();
  std::vector<KernelTime> rows() const;  // the longest first

 private:
  struct Sum {
    int64_t count = 0;
    double seconds = 0;
  };
  using Key = std::pair<std::string, std::string>;
  std::map<Key, Sum> now_;
  std::map<Key, std::vector<Sum>> steps_;  // one sum for each step in which it was launched
};

// Times every launch of a Context that it observes: by two events on the GPU, by the clock on the
// CPU. Two events have some time between them even around an empty kernel: that is taken off.
class LaunchTimer final : public LaunchObserver {
 public:
  explicit LaunchTimer(Context& ctx);
  ~LaunchTimer() override;
  LaunchTimer(const LaunchTimer&) = delete;
  // Runs `step` and adds up its launches. Other work on the stream first holds the GPU back for as
  // long as `queueing`, the seconds the host needs to queue the step, so that no kernel waits for
  // the host.
  template <class F>
  void run(F&& step, double queueing) {
    begin_step(queueing);
    ctx_.observe(this);
    try {
      step();
    } catch (...) {
      ctx_.observe(nullptr);
      throw;
    }
    ctx_.observe(nullptr);
    end_step();
  }
  std::vector<KernelTime> rows() const { return times_.rows(); }
  double empty_launch() const { return empty_; }  // seconds taken off each launch

  void before(const char* kernel, const char* variant, Stream stream) override;
  void after(Stream stream) override;

 private:
  void begin_step(double queueing);
  void end_step();
  struct Launched {
    const char *kernel, *variant;
    double seconds;  // CPU; the start, until it is over
  };
  Context& ctx_;
  std::vector<Launched> launched_;
  KernelTimes times_;
  double empty_ = 0;
#if KRAIT_CUDA
  double elapsed(size_t launch) const;
  std::vector<cudaEvent_t> events_;  // two for each launch
#endif
};

}  // namespace krait
