// Sends a StepState to the device before each step and brings the StepResult back one step later,
// so that the host never waits for the step it has just queued.
#pragma once

#include <optional>
#include <utility>

#include "engine/context.h"

namespace krait {

class StepChannel {
 public:
  explicit StepChannel(Context& ctx);
  ~StepChannel();
  StepChannel(const StepChannel&) = delete;

  const StepState* state() const { return state_.as<StepState>(); }  // in device memory
  StepResult* result() const { return result_.as<StepResult>(); }    // in device memory
  Tensor loss() const;  // result()->loss as a tensor (1)

  // Before the step: queues the copy of `state` to the device.
  void send(const StepState& state);
  // After the step: queues the copy of its result, and returns the result of the step before it
  // together with what was sent for it. Nothing after the first step.
  using Arrived = std::optional<std::pair<StepState, StepResult>>;
  Arrived exchange();
  // The result of the last step, after waiting for it. Nothing if it was returned already.
  Arrived drain();

 private:
  struct Slot {  // in pinned memory
    StepState state;
    StepResult result;
  };
  Arrived take(int slot);
  Context& ctx_;
  Tensor state_, result_;
  std::shared_ptr<std::byte> pinned_;
  Slot* slots_;           // two, used in turn
  void* events_[2] = {};  // recorded after a slot's result was copied
  bool waiting_[2] = {};  // a result is on its way
  int now_ = 0;
};

}  // namespace krait
