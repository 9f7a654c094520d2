// Cross-entropy with soft targets, and how often the model was right.
//   loss = -1/B sum_b sum_c targets[b, c] log softmax(logits[b])[c]
#pragma once

#include "kernels/common/kernel.h"
#include "kernels/common/step_state.h"

namespace krait {

struct CrossEntropyFwd {
  static constexpr const char* name = "cross_entropy_fwd";
  DType dtype;          // of logits; the rest is accum(dtype)
  int64_t B;            // images
  int64_t C;            // classes
  const void* logits;   // (B, C)
  const void* targets;  // (B, C)
  void* loss;           // (1)
  // Null, or where the sum of the images' losses, B, and the hits are added: the class of the
  // largest target (the first of equals) is among the k largest logits (of equals the first count).
  Totals* totals;
  // Null, or one for each picture of the data set, where image b is picture state->first + b.
  Prediction* predictions = nullptr;
  const StepState* state = nullptr;  // null: image b is picture b
};

// dlogits[b, c] = dloss / B (softmax(logits[b])[c] sum_k targets[b, k] - targets[b, c])
struct CrossEntropyBwd {
  static constexpr const char* name = "cross_entropy_bwd";
  DType dtype;  // of logits and dlogits
  int64_t B;
  int64_t C;
  bool accumulate;      // dlogits += rather than =
  const void* logits;   // (B, C)
  const void* targets;  // (B, C) accum
  const void* dloss;    // (1) accum
  void* dlogits;        // (B, C)
};

template <>
std::span<const Variant<CrossEntropyFwd>> variants<CrossEntropyFwd>();
template <>
std::span<const Variant<CrossEntropyBwd>> variants<CrossEntropyBwd>();

}  // namespace krait
