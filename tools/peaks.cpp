// Which loops give the peaks, and the floor that follows from them.
#include "tools/peaks.h"

#include <cstdio>
#include <cstring>
#include <omp.h>

#include "kernels/common/lanes.h"
#include "tools/bench.h"

namespace krait {
namespace {

// A peak is what the device reaches while nothing disturbs it.
double best(Backend backend, const Launcher& work) {
  return time_launches(backend, {work}).low;
}

double cpu_copy_rate() {
  const size_t bytes =
      std::clamp(2 * cache_bytes(Backend::cpu), size_t{64} << 20, size_t{512} << 20);
  const size_t piece = size_t{4} << 20;
  const auto from = case_scratch(Backend::cpu, bytes), to = case_scratch(Backend::cpu, bytes);
  std::memset(from.get(), 1, bytes);
  auto copy = [&](Stream) {
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < bytes; at += piece)
      std::memcpy(to.get() + at, from.get() + at, std::min(piece, bytes - at));
  };
  return 2.0 * static_cast<double>(bytes) / best(Backend::cpu, copy);
}

// Applications of `next` per second: each thread has ten vectors of numbers that do not wait for
// each other.
template <class F>
double cpu_rate(F&& next) {
  constexpr int chains = 10, rounds = 500000;  // some milliseconds
  const int threads = omp_get_max_threads();
  std::vector<float> used(threads);  // so that nothing is left out as useless
  auto work = [&](Stream) {
#pragma omp parallel for schedule(static)
    for (int thread = 0; thread < threads; ++thread) {
      Lanes x[chains];
      for (int c = 0; c < chains; ++c) x[c] = all_lanes(0.01f * static_cast<float>(c + thread));
      for (int r = 0; r < rounds; ++r)
        for (int c = 0; c < chains; ++c) x[c] = next(x[c]);
      Lanes sum{};
      for (int c = 0; c < chains; ++c) sum += x[c];
      used[thread] = sum_lanes(sum);
    }
  };
  return static_cast<double>(threads) * lanes * chains * rounds / best(Backend::cpu, work);
}

#if KRAIT_CUDA
// The best of several grids: one block for each piece, or some for each multiprocessor.
double gpu_copy_rate() {
  const size_t bytes = size_t{1} << 30;
  const Device& device = case_device(Backend::cuda);
  const auto from = case_scratch(Backend::cuda, bytes), to = case_scratch(Backend::cuda, bytes);
  KRAIT_CUDA_CHECK(cudaMemset(from.get(), 1, bytes));
  case_wait(Backend::cuda);
  double rate = 0;
  for (const unsigned blocks :
       {65536u, 8u * device.multiprocessors, 32u * device.multiprocessors}) {
    auto copy = [&](Stream stream) { launch_copy(to.get(), from.get(), bytes, blocks, stream); };
    rate = std::max(rate, 2.0 * static_cast<double>(bytes) / best(Backend::cuda, copy));
  }
  return rate;
}

template <class F>
double gpu_rate(F&& launch) {
  double operations = 0;
  auto work = [&](Stream stream) { operations = launch(case_device(Backend::cuda), stream); };
  const double seconds = best(Backend::cuda, work);  // first: it sets `operations`
  return operations / seconds;
}
#endif

}  // namespace

Floor floor_of(const Cost& cost, const Rates& rates) {
  Floor floor;
  auto consider = [&](double work, double rate, const char* by) {
    if (work > 0 && rate > 0 && work / rate > floor.seconds) floor = {work / rate, by};
  };
  consider(cost.bytes, rates.bytes, "memory");
  consider(cost.flops, rates.flops, "arithmetic");
  consider(cost.exps, rates.exps, "exp");
  consider(cost.instructions, rates.instructions, "issue");
  return floor;
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
      return it->second = c->info().cost.flops / CaseCopies(*c, backend).time_hot(v).low;
    }
  }
  return 0;
}

double Peaks::multiply_adds(Backend backend) {
  auto [it, missing] = multiply_adds_.try_emplace(backend, 0.0);
#if KRAIT_CUDA
  if (missing && backend == Backend::cuda) return it->second = 2 * gpu_rate(launch_multiply_adds);
#endif
  if (missing) it->second = 2 * cpu_rate([](Lanes x) { return x * 0.5f + 1.0f; });
  return it->second;
}

double Peaks::exps(Backend backend) {
  auto [it, missing] = exps_.try_emplace(backend, 0.0);
#if KRAIT_CUDA
  if (missing && backend == Backend::cuda) return it->second = gpu_rate(launch_exps);
#endif
  if (missing) it->second = cpu_rate([](Lanes x) { return exp2_lanes(-x); });
  return it->second;
}

// A multiply-add is one instruction, and as many of them are issued as of any.
double Peaks::instructions(Backend backend) {
  return backend == Backend::cuda ? multiply_adds(backend) / 2 : 0;
}

Rates Peaks::rates(const Cost& cost, Backend backend, DType dtype) {
  Rates r;
  if (cost.bytes > 0) r.bytes = copy(backend);
  if (cost.flops > 0)
    r.flops = cost.matrix ? matmul(backend, backend == Backend::cpu ? DType::f32 : dtype)
                          : multiply_adds(backend);
  if (cost.exps > 0) r.exps = exps(backend);
  if (cost.instructions > 0) r.instructions = instructions(backend);
  return r;
}

std::string Peaks::text() const {
  std::string s;
  auto add = [&](Backend b, const char* format, double value) {
    char number[64];
    std::snprintf(number, sizeof number, format, value);
    s += (s.empty() ? "" : "; ") + device_name(b) + ": " + number;
  };
  for (const auto& [backend, rate] : copy_) add(backend, "copy %.4g GB/s", rate * 1e-9);
  for (const auto& [backend, rate] : multiply_adds_)
    add(backend, "f32 multiply-adds %.3g TFLOP/s", rate * 1e-12);
  for (const auto& [backend, rate] : exps_) add(backend, "exponentials %.4g G/s", rate * 1e-9);
  for (const auto& [key, rate] : matmul_)
    add(key.first,
        key.second == DType::bf16 ? "bf16 matmul %.3g TFLOP/s" : "f32 matmul %.3g TFLOP/s",
        rate * 1e-12);
  return s;
}

}  // namespace krait
