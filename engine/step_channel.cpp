// The two copies of each step, through pinned memory used in turn.
#include "engine/step_channel.h"

#include <cstring>
#include <new>

#include "kernels/common/cuda.h"

namespace krait {

StepChannel::StepChannel(Context& ctx)
    : ctx_(ctx),
      state_(ctx.persistent({int64_t(sizeof(StepState))}, DType::u8)),
      result_(ctx.persistent({int64_t(sizeof(StepResult))}, DType::u8)),
      pinned_(pinned_memory(ctx.device().backend, 2 * sizeof(Slot))),
      slots_(new (pinned_.get()) Slot[2]) {
#if KRAIT_CUDA
  if (ctx.stream())
    for (void*& e : events_)
      KRAIT_CUDA_CHECK(
          cudaEventCreateWithFlags(reinterpret_cast<cudaEvent_t*>(&e), cudaEventDisableTiming));
#endif
}

StepChannel::~StepChannel() {
#if KRAIT_CUDA
  if (ctx_.stream()) cudaStreamSynchronize(ctx_.stream());  // an error has been reported before
  for (void* e : events_)
    if (e) cudaEventDestroy(static_cast<cudaEvent_t>(e));
#endif
}

Tensor StepChannel::loss() const {
  static_assert(offsetof(StepResult, loss) == 0);
  return Tensor(result_.memory(), {1}, DType::f32);
}

void StepChannel::send(const StepState& state) {
  KRAIT_CHECK(!waiting_[now_], "send: the result of the step before last was not taken");
  slots_[now_].state = state;
#if KRAIT_CUDA
  if (ctx_.stream()) {
    KRAIT_CUDA_CHECK(cudaMemcpyAsync(state_.data(), &slots_[now_].state, sizeof state,
                                     cudaMemcpyHostToDevice, ctx_.stream()));
    return;
  }
#endif
  std::memcpy(state_.data(), &state, sizeof state);
}

StepChannel::Arrived StepChannel::exchange() {
#if KRAIT_CUDA
  if (ctx_.stream()) {
    KRAIT_CUDA_CHECK(cudaMemcpyAsync(&slots_[now_].result, result_.data(), sizeof(StepResult),
                                     cudaMemcpyDeviceToHost, ctx_.stream()));
    KRAIT_CUDA_CHECK(cudaEventRecord(static_cast<cudaEvent_t>(events_[now_]), ctx_.stream()));
  } else
#endif
    std::memcpy(&slots_[now_].result, result_.data(), sizeof(StepResult));
  waiting_[now_] = true;
  now_ = 1 - now_;
  return take(now_);
}

StepChannel::Arrived StepChannel::drain() {
  return take(1 - now_);
}

StepChannel::Arrived StepChannel::take(int slot) {
  if (!waiting_[slot]) return {};
#if KRAIT_CUDA
  if (ctx_.stream())
    KRAIT_CUDA_CHECK(cudaEventSynchronize(static_cast<cudaEvent_t>(events_[slot])));
#endif
  waiting_[slot] = false;
  return std::pair{slots_[slot].state, slots_[slot].result};
}

}  // namespace krait
