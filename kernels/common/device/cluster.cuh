// Blocks of a cluster (sm_90 and later): they run at the same time, and read each other's shared
// memory.
#pragma once

#include <cooperative_groups.h>

namespace krait {

// Waits for all threads of the cluster; what they wrote to shared memory can be read then.
__device__ __forceinline__ void sync_cluster() {
#if __CUDA_ARCH__ >= 900
  cooperative_groups::this_cluster().sync();
#else
  __trap();
#endif
}
// Waits for them before the block ends and its shared memory is gone. Nothing that was written
// since need be seen by the others; what a thread has read from them, it must have used before (a
// store of it will do).
__device__ __forceinline__ void leave_cluster() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.relaxed;\n\tbarrier.cluster.wait;" ::: "memory");
#else
  __trap();
#endif
}
// Where block `rank` of the cluster has what this one has at `mine`, in shared memory.
template <class T>
__device__ __forceinline__ T* in_cluster(T* mine, [[maybe_unused]] int rank) {
#if __CUDA_ARCH__ >= 900
  return cooperative_groups::this_cluster().map_shared_rank(mine, rank);
#else
  __trap();
  return mine;
#endif
}

}  // namespace krait
