// How a row is timed: buffers in turn (cold), or the same ones (hot).
#include "tools/bench.h"

#include <fstream>
#include <thread>
#include <unistd.h>

namespace krait {
namespace {

constexpr size_t most_copies = 512;

// Launches in a batch that takes about `seconds`, all inputs the same number of times.
int64_t batch_size(double one_launch, double seconds, size_t turns) {
  const double wanted = std::clamp(seconds / std::max(one_launch, 1e-9), 1.0, 2000.0);
  const auto n = static_cast<int64_t>(turns);
  return (static_cast<int64_t>(wanted) + n - 1) / n * n;
}

Timing time_on_cpu(const std::vector<Launcher>& launches) {
  Stopwatch watch(Backend::cpu);
  size_t turn = 0;  // a batch goes on where the last one ended
  auto batch = [&](int64_t count) {
    return watch.seconds(nullptr, [&] {
      for (int64_t i = 0; i < count; ++i) launches[turn++ % launches.size()](nullptr);
    }) / static_cast<double>(count);
  };
  // Warm-up: first touch of outputs and scratch, threads started.
  batch(static_cast<int64_t>(launches.size()));
  // Far above the resolution of the clock, and a thousand of them are enough.
  const int64_t count = batch_size(batch(1), 0.2e-3, 1);
  return gather(count, [&] { return batch(count); });
}

#if KRAIT_CUDA
// A stream of its own, and a graph recorded from it.
class GpuGraph {
 public:
  GpuGraph() { KRAIT_CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking)); }
  ~GpuGraph() {
    if (exec_) cudaGraphExecDestroy(exec_);
    cudaStreamDestroy(stream);
  }
  GpuGraph(const GpuGraph&) = delete;
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
    const cudaError_t status = cudaGraphInstantiate(&exec_, graph, 0);
    cudaGraphDestroy(graph);
    KRAIT_CUDA_CHECK(status);
  }
  void replay() { KRAIT_CUDA_CHECK(cudaGraphLaunch(exec_, stream)); }
  Stream stream = nullptr;

 private:
  cudaGraphExec_t exec_ = nullptr;
};

Timing time_on_gpu(const std::vector<Launcher>& launches) {
  Stopwatch watch(Backend::cuda);
  GpuGraph graph;
  auto queue = [&](int64_t count) {
    for (int64_t i = 0; i < count; ++i) launches[i % launches.size()](graph.stream);
  };
  const auto turns = static_cast<int64_t>(launches.size());
  queue(turns);  // warm-up: what a library plans at first use must not happen in the capture
  const double first =
      watch.seconds(graph.stream, [&] { queue(turns); }) / static_cast<double>(turns);
  const int64_t count = batch_size(first, 2e-3, launches.size());
  graph.capture([&] { queue(count); });
  graph.replay();  // the first replay loads the graph
  KRAIT_CUDA_CHECK(cudaStreamSynchronize(graph.stream));
  return gather(count, [&] {
    return watch.seconds(graph.stream, [&] { graph.replay(); }) / static_cast<double>(count);
  });
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

size_t memory_bytes(Backend backend) {
  if (backend == Backend::cuda) return case_device(backend).total_bytes;
  return static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE);
}

}  // namespace

std::string device_name(Backend backend) {
  if (backend == Backend::cuda) return case_device(backend).name;
  return cat("CPU, ", std::thread::hardware_concurrency(), " threads");
}

size_t cache_bytes(Backend backend) {
  static const size_t cpu = cpu_cache_bytes();
  return backend == Backend::cpu ? cpu : case_device(backend).l2_bytes;
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

}  // namespace krait
