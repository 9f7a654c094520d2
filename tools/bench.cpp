// How a row is timed: buffers in turn (cold), the same ones (hot), and the peaks of the device.
#include "tools/bench.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>
#include <unistd.h>

#include "kernels/common/cuda.h"

namespace krait {
namespace {

constexpr double enough_seconds = 0.2;
constexpr int fewest_samples = 3, most_samples = 1000;
constexpr size_t most_copies = 512;

double seconds_now() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

// Calls `sample`, which gives the seconds of one launch in a batch of `launches`, until it is
// enough.
template <class F>
Timing gather(int64_t launches, F&& sample) {
  std::vector<double> times;
  double spent = 0;
  while (times.size() < most_samples && (spent < enough_seconds || times.size() < fewest_samples)) {
    times.push_back(sample());
    spent += times.back() * static_cast<double>(launches);
  }
  std::sort(times.begin(), times.end());
  auto at = [&](double share) {
    return times[static_cast<size_t>(share * static_cast<double>(times.size() - 1) + 0.5)];
  };
  return {at(0.5), at(0.1), at(0.9), static_cast<int>(times.size())};
}

// Launches in a batch that takes about `seconds`, all inputs the same number of times.
int64_t batch_size(double one_launch, double seconds, size_t turns) {
  const double wanted = std::clamp(seconds / std::max(one_launch, 1e-9), 1.0, 2000.0);
  const auto n = static_cast<int64_t>(turns);
  return (static_cast<int64_t>(wanted) + n - 1) / n * n;
}

Timing time_on_cpu(const std::vector<Launcher>& launches) {
  size_t turn = 0;  // a batch goes on where the last one ended
  auto batch = [&](int64_t count) {
    const double start = seconds_now();
    for (int64_t i = 0; i < count; ++i) launches[turn++ % launches.size()](nullptr);
    return (seconds_now() - start) / static_cast<double>(count);
  };
  // Warm-up: first touch of outputs and scratch, threads started.
  batch(static_cast<int64_t>(launches.size()));
  // Far above the resolution of the clock, and a thousand of them are enough.
  const int64_t count = batch_size(batch(1), 0.2e-3, 1);
  return gather(count, [&] { return batch(count); });
}

#if KRAIT_CUDA
class GpuTimer {
 public:
  GpuTimer() {
    KRAIT_CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    KRAIT_CUDA_CHECK(cudaEventCreate(&begin_));
    KRAIT_CUDA_CHECK(cudaEventCreate(&end_));
  }
  ~GpuTimer() {
    if (graph_) cudaGraphExecDestroy(graph_);
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
    cudaStreamDestroy(stream);
  }
  GpuTimer(const GpuTimer&) = delete;
  // Seconds from before to after what `queue` puts into the stream.
  template <class F>
  double seconds(F&& queue) {
    KRAIT_CUDA_CHECK(cudaEventRecord(begin_, stream));
    queue();
    KRAIT_CUDA_CHECK(cudaEventRecord(end_, stream));
    KRAIT_CUDA_CHECK(cudaEventSynchronize(end_));
    float milliseconds = 0;
    KRAIT_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin_, end_));
    return milliseconds * 1e-3;
  }
  template <class F>
  void capture(F&& queue) {
    cudaGraph_t graph = nullptr;
    KRAIT_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    try {
      queue();
    } catch (...) {  // leave the stream usable, then say what went wrong
      cudaStreamEndCapture(stream, &graph);
      if (graph) cudaGraphDestroy(graph);
      throw;
    }
    KRAIT_CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
    const cudaError_t status = cudaGraphInstantiate(&graph_, graph, 0);
    cudaGraphDestroy(graph);
    KRAIT_CUDA_CHECK(status);
  }
  void replay() { KRAIT_CUDA_CHECK(cudaGraphLaunch(graph_, stream)); }
  Stream stream = nullptr;

 private:
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  cudaGraphExec_t graph_ = nullptr;
};

Timing time_on_gpu(const std::vector<Launcher>& launches) {
  KRAIT_INPUT(!std::getenv("KRAIT_SYNC"),
              "KRAIT_SYNC waits after every launch: unset it to measure");
  GpuTimer timer;
  auto queue = [&](int64_t count) {
    for (int64_t i = 0; i < count; ++i) launches[i % launches.size()](timer.stream);
  };
  const auto turns = static_cast<int64_t>(launches.size());
  queue(turns);  // warm-up: what a library plans at first use must not happen in the capture
  const double first = timer.seconds([&] { queue(turns); }) / static_cast<double>(turns);
  const int64_t count = batch_size(first, 2e-3, launches.size());
  timer.capture([&] { queue(count); });
  timer.replay();  // the first replay loads the graph
  KRAIT_CUDA_CHECK(cudaStreamSynchronize(timer.stream));
  return gather(
      count, [&] { return timer.seconds([&] { timer.replay(); }) / static_cast<double>(count); });
}

double gpu_copy_rate() {
  const size_t bytes = size_t{1} << 30;
  const auto from = case_scratch(Backend::cuda, bytes), to = case_scratch(Backend::cuda, bytes);
  KRAIT_CUDA_CHECK(cudaMemset(from.get(), 1, bytes));
  case_wait(Backend::cuda);
  const Timing t =
      time_launches(Backend::cuda, {[&](Stream stream) {
                      KRAIT_CUDA_CHECK(cudaMemcpyAsync(to.get(), from.get(), bytes,
                                                       cudaMemcpyDeviceToDevice, stream));
                    }});
  return 2.0 * static_cast<double>(bytes) / t.median;
}
#endif

size_t cpu_cache_bytes() {
  std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index3/size");  // "8192K"
  size_t number = 0;
  char unit = 0;
  if (file >> number >> unit && number > 0)
    return unit == 'M' ? number << 20 : unit == 'K' ? number << 10 : number;
  return size_t{32} << 20;
}

size_t cache_bytes(Backend backend) {
  static const size_t cpu = cpu_cache_bytes();
  return backend == Backend::cpu ? cpu : case_device(backend).l2_bytes;
}

size_t memory_bytes(Backend backend) {
  if (backend == Backend::cuda) return case_device(backend).total_bytes;
  return static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE);
}

double cpu_copy_rate() {
  const size_t bytes =
      std::clamp(2 * cache_bytes(Backend::cpu), size_t{64} << 20, size_t{512} << 20);
  const size_t piece = size_t{4} << 20;
  const auto from = case_scratch(Backend::cpu, bytes), to = case_scratch(Backend::cpu, bytes);
  std::memset(from.get(), 1, bytes);
  const Timing t =
      time_launches(Backend::cpu, {[&](Stream) {
#pragma omp parallel for schedule(static)
                      for (size_t at = 0; at < bytes; at += piece)
                        std::memcpy(to.get() + at, from.get() + at, std::min(piece, bytes - at));
                    }});
  return 2.0 * static_cast<double>(bytes) / t.median;
}

}  // namespace

std::string device_name(Backend backend) {
  if (backend == Backend::cuda) return case_device(backend).name;
  return cat("CPU, ", std::thread::hardware_concurrency(), " threads");
}

Timing time_launches(Backend backend, const std::vector<Launcher>& launches) {
#if KRAIT_CUDA
  if (backend == Backend::cuda) return time_on_gpu(launches);
#endif
  (void)backend;
  return time_on_cpu(launches);
}

CaseCopies::CaseCopies(const KernelCase& c, Backend backend) : backend_(backend) {
  const DType t = c.info().dtype;
  CaseMemory addresses(backend, t, t, CaseMemory::Mode::addresses_only);
  c.build(addresses);
  const size_t fill = 2 * cache_bytes(backend), one = addresses.bytes();
  size_t copies = std::max<size_t>((fill + one - 1) / one, 1);
  overflow_cache_ = copies <= most_copies;
  if (!overflow_cache_) copies = 1;
  KRAIT_INPUT(copies * one < memory_bytes(backend) / 4 * 3, c.kernel(), " ", c.size(), " needs ",
              (copies * one) >> 20, " MiB, more than this device has to spare");
  for (size_t i = 0; i < copies; ++i) {
    memories_.push_back(std::make_unique<CaseMemory>(backend, t, t));
    rows_.push_back(c.build(*memories_.back()));
  }
  case_wait(backend);
}

Measured CaseCopies::time(int v) const {
  std::vector<Launcher> launches;
  for (const RowLauncher& row : rows_) launches.push_back(row(v));
  Measured m;
  if (overflow_cache_) m.cold = time_launches(backend_, launches);
  // One copy that overflows the cache by itself is never found there.
  m.hot = overflow_cache_ && launches.size() == 1 ? m.cold : time_hot(v);
  return m;
}

Timing CaseCopies::time_hot(int v) const {
  return time_launches(backend_, {rows_.front()(v)});
}

double Peaks::copy(Backend backend) {
  auto [it, missing] = copy_.try_emplace(backend, 0.0);
#if KRAIT_CUDA
  if (missing && backend == Backend::cuda) return it->second = gpu_copy_rate();
#endif
  if (missing) it->second = cpu_copy_rate();
  return it->second;
}

double Peaks::matmul(Backend backend, DType dtype) {
  auto [it, missing] = matmul_.try_emplace({backend, dtype}, 0.0);
  if (!missing) return it->second;
  const int64_t n = backend == Backend::cpu ? 768 : dtype == DType::bf16 ? 8192 : 4096;
  for (auto& c : cases_of_size("matmul", UserSizes({{"m", n}, {"n", n}, {"k", n}, {"tb", 1}}))) {
    if (c->info().dtype != dtype) continue;
    for (int v = 0; v < c->variant_count(); ++v) {
      if (c->variant_backend(v) != backend || !c->supports(v)) continue;
      return it->second = c->info().cost.flops / CaseCopies(*c, backend).time_hot(v).median;
    }
  }
  return 0;
}

std::string Peaks::text() const {
  std::string s;
  auto next = [&](Backend b) { return (s.empty() ? "" : "; ") + device_name(b); };
  char number[64];
  for (const auto& [backend, rate] : copy_) {
    std::snprintf(number, sizeof number, ": copy %.4g GB/s", rate * 1e-9);
    s += next(backend) + number;
  }
  for (const auto& [key, rate] : matmul_) {
    std::snprintf(number, sizeof number, ": %s matmul %.3g TFLOP/s", name_of(key.second),
                  rate * 1e-12);
    s += next(key.first) + number;
  }
  return s;
}

}  // namespace krait
