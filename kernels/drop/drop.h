// Dropout and drop path (Huang et al. 2016): zero for a random choice of groups of elements.
//   y[i] = keeps(i / group) ? x[i] / (1 - p) : 0
// Nothing is kept: which groups stay is a function of the seed, the step and the place in the
// model, so the backward pass is the same kernel on dy.
#pragma once

#include "kernels/common/kernel.h"
#include "kernels/common/random.h"
#include "kernels/common/step_state.h"

namespace krait {

struct Drop {
  static constexpr const char* name = "drop";
  DType dtype;
  int64_t n;
  int64_t group;           // consecutive elements that stay or go together
  float p;                 // the probability of going, below 1
  int32_t place;           // numbers the uses within a model
  bool accumulate;         // y += rather than y =
  const StepState* state;  // device memory: seed and step
  const void* x;           // (n)
  void* y;                 // (n)
  int64_t groups = 0;      // of a picture, for where several processes share a batch
};

KRAIT_HD inline bool keeps(const Drop& p, const StepState& state, int64_t group) {
  const uint32_t stream = static_cast<uint32_t>(Draw::drop) + static_cast<uint32_t>(p.place);
  if (state.share.pictures && p.groups) {  // the number that the group has in the whole batch
    const int64_t picture = group / p.groups;
    group += (state.share.place(picture) - picture) * p.groups;
  }
  const Random4 r = philox(state.seed, stream, state.step, static_cast<uint64_t>(group));
  return uniform01(r.word[0]) >= p.p;
}

template <>
std::span<const Variant<Drop>> variants<Drop>();

}  // namespace krait
