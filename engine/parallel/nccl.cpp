// Sums between GPUs, by NCCL.
#include "engine/parallel/backends.h"

#if KRAIT_NCCL
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <fmt/format.h>
#include <nccl.h>
#include <thread>

#include "kernels/common/cuda.h"

#define KRAIT_NCCL_CHECK(call)                                                       \
  do {                                                                               \
    const ncclResult_t krait_result = (call);                                        \
    if (krait_result != ncclSuccess)                                                 \
      ::krait::fail(__FILE__, __LINE__,                                              \
                    ::krait::cat(#call ": ", ncclGetErrorString(krait_result), "; ", \
                                 ncclGetLastError(nullptr)));                        \
  } while (0)
#endif

namespace krait {

#if KRAIT_NCCL
namespace {

ncclComm_t communicator(Ranks& ranks) {
  // Rings and trees add in an order that their shape gives, which is the same in every run. Nothing
  // says that of sums made in the switch.
  setenv("NCCL_NVLS_ENABLE", "0", 0);
  ncclUniqueId id{};
  if (ranks.rank() == 0) KRAIT_NCCL_CHECK(ncclGetUniqueId(&id));
  ranks.broadcast(&id, sizeof id, 0);
  ncclComm_t comm = nullptr;
  KRAIT_NCCL_CHECK(ncclCommInitRank(&comm, ranks.size(), id, ranks.rank()));
  return comm;
}

class NcclSum : public Sum {
 public:
  NcclSum(Context& ctx, Ranks& ranks) : ctx_(ctx), ranks_(ranks), comm_(communicator(ranks)) {
    int least = 0, most = 0;
    KRAIT_CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&least, &most));
    KRAIT_CUDA_CHECK(cudaStreamCreateWithPriority(&side_, cudaStreamNonBlocking, most));
    for (cudaEvent_t* e : {&written_, &summed_})
      KRAIT_CUDA_CHECK(cudaEventCreateWithFlags(e, cudaEventDisableTiming));
    watch_ = std::thread([this] { watch(); });
  }
  // After the graphs that hold its kernels are gone.
  ~NcclSum() override {
    leaving_ = true;
    watch_.join();
    if (std::uncaught_exceptions() > 0) return;  // the others may be anywhere; the process ends
    cudaStreamSynchronize(ctx_.stream());
    ncclCommDestroy(comm_);
    cudaEventDestroy(written_);
    cudaEventDestroy(summed_);
    cudaStreamDestroy(side_);
  }

  std::string name() const override { return "NCCL"; }
  void start(float* values, int64_t n) override {
    KRAIT_CUDA_CHECK(cudaEventRecord(written_, ctx_.stream()));
    KRAIT_CUDA_CHECK(cudaStreamWaitEvent(side_, written_, 0));
    KRAIT_NCCL_CHECK(ncclAllReduce(values, values, n, ncclFloat, ncclSum, comm_, side_));
  }
  void finish() override {
    KRAIT_CUDA_CHECK(cudaEventRecord(summed_, side_));
    KRAIT_CUDA_CHECK(cudaStreamWaitEvent(ctx_.stream(), summed_, 0));
  }

 private:
  // A broken connection leaves kernels that never end: NCCL tells whoever asks.
  void watch() {
    for (int n = 0; !leaving_; ++n) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      ncclResult_t error = ncclSuccess;
      if (n % 50 != 0 || ncclCommGetAsyncError(comm_, &error) != ncclSuccess) continue;
      if (error == ncclSuccess || error == ncclInProgress) continue;
      fmt::print(stderr, "rank {}: NCCL: {}: all end; --resume goes on from the checkpoint\n",
                 ranks_.rank(), ncclGetErrorString(error));
      ranks_.end_all(1);
    }
  }

  Context& ctx_;
  Ranks& ranks_;
  ncclComm_t comm_;
  cudaStream_t side_ = nullptr;
  cudaEvent_t written_ = nullptr, summed_ = nullptr;
  std::atomic<bool> leaving_{false};
  std::thread watch_;
};

}  // namespace

bool has_nccl() {
  return true;
}
std::unique_ptr<Sum> nccl_sum(Context& ctx, Ranks& ranks) {
  return std::make_unique<NcclSum>(ctx, ranks);
}
#else
bool has_nccl() {
  return false;
}
std::unique_ptr<Sum> nccl_sum(Context&, Ranks&) {
  throw InputError("this build has no NCCL (cmake -DKRAIT_NCCL=ON)");
}
#endif

}  // namespace krait
