// One batch out of augmented pictures (pictures.h): normalise, erase, mix; and its targets.
//   n(v) = (v / 255 - mean) / std, and noise in the boxes that are erased
//   mixup:   lam n[i] + (1 - lam) n[B-1-i];   CutMix: the box comes from n[B-1-i]
//   targets[i] = lam t[i] + (1 - lam) t[B-1-i],  t = s / C + (1 - s) at the label
// Every choice is drawn from (seed, step, place of i in the whole batch), and each float step is
// written so that no compiler can contract it differently: float32 batches have the same bits on
// CPU and GPU.
#pragma once

#include "kernels/augment/erase.h"
#include "kernels/common/kernel.h"

namespace krait {

struct MakeBatch {
  static constexpr const char* name = "make_batch";
  static constexpr int max_channels = 3;
  DType dtype;      // of the images made
  int64_t B;        // pictures in the batch
  int channels, S;  // S x S pixels
  int classes;
  bool train;  // off: no erasing or mixing
  bool mix;
  MixRules mixing;
  EraseRules erase;
  double mean[max_channels], stddev[max_channels];  // of pixels in [0, 1]
  double smoothing;
  const uint8_t* pictures;  // (B, channels, S, S)
  const int32_t* labels;    // (N)
  const int32_t* order;     // (N): picture i has label order[first + its place]. Null: label i
  const StepState* state;
  void* images;   // (B, channels, S, S)
  void* targets;  // (B, classes) accum
};

template <>
std::span<const Variant<MakeBatch>> variants<MakeBatch>();

void make_batch_reference(const MakeBatch&, const Launch&);
void make_batch_openmp(const MakeBatch&, const Launch&);
#if KRAIT_CUDA
void make_batch_block_per_picture(const MakeBatch&, const Launch&);
#endif

}  // namespace krait
