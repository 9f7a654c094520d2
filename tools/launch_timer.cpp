// Two readings around every launch, added up when the step is over.
#include "tools/launch_timer.h"

#include "tools/peaks.h"

namespace krait {

void KernelTimes::add(const std::string& kernel, const std::string& variant, double seconds) {
  Sum& sum = now_[{kernel, variant}];
  ++sum.count;
  sum.seconds += seconds;
}
void KernelTimes::end_step() {
  for (const auto& [key, sum] : now_) steps_[key].push_back(sum);
  now_.clear();
}
std::vector<KernelTime> KernelTimes::rows() const {
  std::vector<KernelTime> rows;
  for (const auto& [key, sums] : steps_) {
    std::vector<double> seconds;
    for (const Sum& s : sums) seconds.push_back(s.seconds);
    rows.push_back({key.first, key.second, sums.back().count, timing_of(seconds).median});
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const KernelTime& a, const KernelTime& b) { return a.seconds > b.seconds; });
  return rows;
}

LaunchTimer::LaunchTimer(Context& ctx) : ctx_(ctx) {
#if KRAIT_CUDA
  if (!ctx_.stream()) return;
  std::vector<double> seconds;
  begin_step(1e-3);
  for (int i = 0; i < 64; ++i) {
    before("", "", ctx_.stream());
    launch_wait(0, ctx_.stream());
    after(ctx_.stream());
  }
  ctx_.wait();
  for (size_t i = 0; i < launched_.size(); ++i) seconds.push_back(elapsed(i));
  empty_ = timing_of(std::move(seconds)).median;
#endif
}

LaunchTimer::~LaunchTimer() {
#if KRAIT_CUDA
  for (cudaEvent_t e : events_) cudaEventDestroy(e);
#endif
}

void LaunchTimer::begin_step(double queueing) {
  launched_.clear();
#if KRAIT_CUDA
  if (ctx_.stream()) launch_wait(queueing, ctx_.stream());
#endif
  (void)queueing;
}

void LaunchTimer::before(const char* kernel, const char* variant, Stream stream) {
#if KRAIT_CUDA
  if (stream) {
    while (events_.size() < 2 * (launched_.size() + 1)) {
      events_.push_back(nullptr);
      KRAIT_CUDA_CHECK(cudaEventCreate(&events_.back()));
    }
    KRAIT_CUDA_CHECK(cudaEventRecord(events_[2 * launched_.size()], stream));
  }
#endif
  (void)stream;
  launched_.push_back({kernel, variant, seconds_now()});
}

void LaunchTimer::after(Stream stream) {
#if KRAIT_CUDA
  if (stream) {
    KRAIT_CUDA_CHECK(cudaEventRecord(events_[2 * launched_.size() - 1], stream));
    return;
  }
#endif
  (void)stream;
  launched_.back().seconds = seconds_now() - launched_.back().seconds;
}

#if KRAIT_CUDA
double LaunchTimer::elapsed(size_t launch) const {
  float milliseconds = 0;
  KRAIT_CUDA_CHECK(
      cudaEventElapsedTime(&milliseconds, events_[2 * launch], events_[2 * launch + 1]));
  return milliseconds * 1e-3;
}
#endif

void LaunchTimer::end_step() {
  ctx_.wait();
  for (size_t i = 0; i < launched_.size(); ++i) {
    double seconds = launched_[i].seconds;
#if KRAIT_CUDA
    if (ctx_.stream()) seconds = std::max(0.0, elapsed(i) - empty_);
#endif
    times_.add(launched_[i].kernel, launched_[i].variant, seconds);
  }
  times_.end_step();
}

}  // namespace krait
