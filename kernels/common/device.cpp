// The machine's devices, and what happens after each launch.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "kernels/common/cuda.h"
#include "kernels/common/kernel.h"

namespace krait {

bool available(Backend backend) {
#if KRAIT_CUDA
  int count = 0;
  if (backend == Backend::cpu) return true;
  if (cudaGetDeviceCount(&count) == cudaSuccess && count > 0) return true;
  cudaGetLastError();  // "no device" is an answer, not an error to find later
  return false;
#else
  return backend == Backend::cpu;
#endif
}

Device find_device(Backend backend) {
  if (backend == Backend::cpu) return {};
#if KRAIT_CUDA
  KRAIT_INPUT(available(backend), "there is no CUDA device on this machine (use --device cpu)");
  Device d{.backend = Backend::cuda};
  cudaDeviceProp prop;
  KRAIT_CUDA_CHECK(cudaGetDevice(&d.index));
  KRAIT_CUDA_CHECK(cudaGetDeviceProperties(&prop, d.index));
  d.sm = prop.major * 10 + prop.minor;
  d.multiprocessors = prop.multiProcessorCount;
  d.l2_bytes = static_cast<size_t>(prop.l2CacheSize);
  d.total_bytes = prop.totalGlobalMem;
  std::memcpy(d.name, prop.name, std::min(std::strlen(prop.name), sizeof d.name - 1));
  return d;
#else
  throw InputError("this build has no CUDA code (use --device cpu, or build with nvcc installed)");
#endif
}

void check_launched(const Device& device, Stream stream, const char* kernel, const char* variant) {
#if KRAIT_CUDA
  if (device.backend != Backend::cuda) return;
  static const bool sync = std::getenv("KRAIT_SYNC") != nullptr;
  cudaError_t status = cudaGetLastError();
  if (status == cudaSuccess && sync) status = cudaStreamSynchronize(stream);
  KRAIT_CHECK(status == cudaSuccess, kernel, "/", variant, ": ", cudaGetErrorString(status));
#else
  (void)device, (void)stream, (void)kernel, (void)variant;
#endif
}

}  // namespace krait
