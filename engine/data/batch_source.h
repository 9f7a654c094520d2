// Where a training or an evaluation takes its batches from: pictures that lie in device memory, or
// files that threads read ahead of the step that needs them.
#pragma once

#include "engine/context.h"

namespace krait {

struct AugmentOptions;

// The order in which an epoch takes `count` pictures: a permutation that depends on (seed, epoch).
// `repeats` > 1 (Hoffer et al. 2020; timm's RepeatAugSampler): each picture so many times in a row,
// and so only every repeats-th picture of the permutation.
std::vector<int32_t> epoch_order(int64_t count, uint64_t seed, uint64_t epoch, int repeats);

class BatchSource {
 public:
  struct Batch {
    Tensor images;   // (B, 3, size, size) of type `dtype`
    Tensor targets;  // (B, classes) accum
  };
  virtual ~BatchSource() = default;
  virtual int64_t count() const = 0;  // pictures
  virtual int classes() const = 0;
  // The order of one epoch: epoch_order(), or 0, 1, 2, ...
  virtual void shuffle(Context& ctx, uint64_t seed, uint64_t epoch, int repeats = 1) = 0;
  virtual void in_order(Context& ctx) = 0;
  // What the host has to do before a step that takes B pictures from state.first on is launched:
  // nothing for pictures in device memory. Called before every such step, in the stream's order.
  virtual void prepare(Context&, const StepState& /*state*/, int64_t /*B*/) {}
  virtual double seconds_waited() const { return 0; }  // in prepare, for pictures, so far
  // Inside the step: pictures order[first .. first + B) where first = ctx.state->first. Not
  // `train`: only size, interpolation, mean, stddev and crop central count. The same launches on
  // the same addresses every time. Never recorded on a tape.
  virtual Batch batch(Context& ctx, int64_t B, const AugmentOptions& augment, bool train,
                      DType dtype) const = 0;
};

}  // namespace krait
