// The stopwatch's two clocks.
#include "tools/timing.h"

#include <chrono>
#include <cstdlib>

namespace krait {

Timing timing_of(std::vector<double> seconds) {
  if (seconds.empty()) return {};
  std::sort(seconds.begin(), seconds.end());
  auto at = [&](double share) {
    return seconds[static_cast<size_t>(share * static_cast<double>(seconds.size() - 1) + 0.5)];
  };
  return {at(0.5), at(0.1), at(0.9), static_cast<int>(seconds.size())};
}

double seconds_now() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

Stopwatch::Stopwatch(Backend backend) {
  (void)backend;
#if KRAIT_CUDA
  if (backend != Backend::cuda) return;
  KRAIT_INPUT(!std::getenv("KRAIT_SYNC"),
              "KRAIT_SYNC waits after every launch: unset it to measure");
  KRAIT_CUDA_CHECK(cudaEventCreate(&begin_));
  KRAIT_CUDA_CHECK(cudaEventCreate(&end_));
#endif
}

Stopwatch::~Stopwatch() {
#if KRAIT_CUDA
  if (begin_) cudaEventDestroy(begin_);
  if (end_) cudaEventDestroy(end_);
#endif
}

void Stopwatch::start(Stream stream) {
#if KRAIT_CUDA
  if (begin_) {
    KRAIT_CUDA_CHECK(cudaEventRecord(begin_, stream));
    return;
  }
#endif
  (void)stream;
  started_ = seconds_now();
}

double Stopwatch::stop(Stream stream) {
#if KRAIT_CUDA
  if (begin_) {
    KRAIT_CUDA_CHECK(cudaEventRecord(end_, stream));
    KRAIT_CUDA_CHECK(cudaEventSynchronize(end_));
    float milliseconds = 0;
    KRAIT_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin_, end_));
    return milliseconds * 1e-3;
  }
#endif
  (void)stream;
  return seconds_now() - started_;
}

}  // namespace krait
