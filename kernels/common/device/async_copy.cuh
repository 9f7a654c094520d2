// Copies from global to shared memory that run beside the computation (cp.async, sm_80 and later).
// A thread queues copies, waits for its own, then a barrier makes all of them visible to the block.
#pragma once

namespace krait {

// The first `bytes` of 16, then zeros; both addresses are multiples of 16. Nothing else of `from`
// is read.
__device__ __forceinline__ void async_copy_first(void* to, const void* from, int bytes) {
  const auto at = static_cast<unsigned>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes));
}
// 16 bytes, or zeros where `wanted` is false.
__device__ __forceinline__ void async_copy_16(void* to, const void* from, bool wanted) {
  async_copy_first(to, from, wanted ? 16 : 0);
}
// 4 bytes, or zeros where `wanted` is false; both addresses are multiples of 4.
__device__ __forceinline__ void async_copy_4(void* to, const void* from, bool wanted) {
  const auto at = static_cast<unsigned>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(at), "l"(from),
               "r"(wanted ? 4 : 0));
}
__device__ __forceinline__ void wait_for_async_copies() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}
// To wait for some only: a thread closes a group of copies, and waits until all of its groups but
// the last `open` have arrived.
__device__ __forceinline__ void close_async_group() {
  asm volatile("cp.async.commit_group;");
}
template <int open>
__device__ __forceinline__ void wait_for_async_groups_but() {
  asm volatile("cp.async.wait_group %0;" ::"n"(open) : "memory");
}

}  // namespace krait
