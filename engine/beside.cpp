// Work beside: streams, events, and how long memory is kept.
#include "engine/beside.h"

#include <algorithm>

#include "kernels/common/cuda.h"

namespace krait {

Beside::Beside([[maybe_unused]] Backend backend) {
#if KRAIT_CUDA
  if (backend != Backend::cuda) return;
  KRAIT_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  auto event = [](void*& e) {
    cudaEvent_t made = nullptr;
    KRAIT_CUDA_CHECK(cudaEventCreateWithFlags(&made, cudaEventDisableTiming));
    e = made;
  };
  event(start_);
  for (Turn& t : turns_) event(t.done);
#endif
}
Beside::~Beside() {
#if KRAIT_CUDA
  if (!stream_) return;
  cudaStreamSynchronize(stream_);
  for (Turn& t : turns_) cudaEventDestroy(static_cast<cudaEvent_t>(t.done));
  cudaEventDestroy(static_cast<cudaEvent_t>(start_));
  cudaStreamDestroy(stream_);
#endif
}

void Beside::start([[maybe_unused]] Stream main, std::vector<Tensor> uses, bool dry) {
  KRAIT_CHECK(!inside_, "work beside work beside");
  turn_ = 1 - turn_;
  finish(turns_[turn_], main, dry);
  turns_[turn_].open = inside_ = true;
  turns_[turn_].uses = std::move(uses);
#if KRAIT_CUDA
  if (!stream_ || dry) return;
  KRAIT_CUDA_CHECK(cudaEventRecord(static_cast<cudaEvent_t>(start_), main));
  KRAIT_CUDA_CHECK(cudaStreamWaitEvent(stream_, static_cast<cudaEvent_t>(start_)));
#endif
}
void Beside::end([[maybe_unused]] bool dry) {
  inside_ = false;
#if KRAIT_CUDA
  if (stream_ && !dry)
    KRAIT_CUDA_CHECK(cudaEventRecord(static_cast<cudaEvent_t>(turns_[turn_].done), stream_));
#endif
}
void Beside::wait(Turn& turn, [[maybe_unused]] Stream main, [[maybe_unused]] bool dry) {
  if (!turn.open) return;
#if KRAIT_CUDA
  if (stream_ && !dry)
    KRAIT_CUDA_CHECK(cudaStreamWaitEvent(main, static_cast<cudaEvent_t>(turn.done)));
#endif
  for (const auto& launch : turn.late) launch();
  turn.late.clear();
}
void Beside::finish(Turn& turn, Stream main, bool dry) {
  wait(turn, main, dry);
  turn = {.done = turn.done};
}
void Beside::wait(Stream main, bool dry) {
  wait(turns_[1 - turn_], main, dry);  // the older one
  wait(turns_[turn_], main, dry);
}
void Beside::join(Stream main, bool dry) {
  finish(turns_[1 - turn_], main, dry);  // the older one
  finish(turns_[turn_], main, dry);
}
void Beside::drop() {
  inside_ = false;
#if KRAIT_CUDA
  if (stream_) cudaStreamSynchronize(stream_);
#endif
  for (Turn& t : turns_) t = {.done = t.done};
}
bool Beside::writes_to(const void* memory) const {
  return std::any_of(std::begin(turns_), std::end(turns_), [&](const Turn& t) {
    return std::find(t.writes.begin(), t.writes.end(), memory) != t.writes.end();
  });
}

}  // namespace krait
