// GPU row: long groups are cut into chunks for a block each, short ones share a block.
#include "kernels/common/device/dispatch.cuh"
#include "kernels/drop/rows.h"

namespace krait {
namespace {

constexpr int threads = 256;
constexpr int64_t chunk = 8 * threads;  // elements a block handles

template <class T>
__device__ void put(const Drop& p, int64_t i, bool keep, float scale) {
  const float v = keep ? float(static_cast<const T*>(p.x)[i]) * scale : 0.0f;
  T& y = static_cast<T*>(p.y)[i];
  y = T(p.accumulate ? float(y) + v : v);
}

// A block owns one chunk of one group: every thread draws the group's number once, for up to eight
// elements. A group that goes is not read, and not touched at all where y is added to.
template <class T>
__global__ void long_groups(Drop p, float scale, int64_t chunks) {
  const int64_t g = blockIdx.x / chunks, first = (blockIdx.x % chunks) * chunk;
  const bool keep = keeps(p, *p.state, g);
  if (!keep && p.accumulate) return;
  for (int64_t i = first + threadIdx.x; i < first + chunk && i < p.group; i += threads)
    if (g * p.group + i < p.n) put<T>(p, g * p.group + i, keep, scale);
}

// A thread owns single elements and draws for each.
template <class T>
__global__ void short_groups(Drop p, float scale) {
  for (int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x; i < p.n;
       i += int64_t{gridDim.x} * threads)
    put<T>(p, i, keeps(p, *p.state, i / p.group), scale);
}

}  // namespace

void drop_chunks(const Drop& p, const Launch& l) {
  const float scale = 1.0f / (1.0f - p.p);  // on the host, so that it is the CPU's to the last bit
  const int64_t groups = (p.n + p.group - 1) / p.group, chunks = (p.group + chunk - 1) / chunk;
  dispatch_gpu(p.dtype, [&]<class T>() {
    if (p.group >= threads && groups > 0)
      long_groups<T>
          <<<static_cast<unsigned>(groups * chunks), threads, 0, l.stream>>>(p, scale, chunks);
    else
      short_groups<T><<<blocks_for(p.n, threads, 4096), threads, 0, l.stream>>>(p, scale);
  });
}

}  // namespace krait
