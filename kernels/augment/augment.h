// One batch out of the data set: gather, crop, flip, scale, normalise, mix; pictures and targets.
//   n(v) = (v / 255 - mean) / std,  0 outside the picture
//   images[i] = n(window of picture order[first + i]), scaled to S x S
//   mixup:   lam images[i] + (1 - lam) images[B-1-i];   CutMix: the box comes from images[B-1-i]
//   targets[i] = lam t[i] + (1 - lam) t[B-1-i],  t = s / C + (1 - s) at the label
// Every choice is an integer drawn from (seed, step, i), and each float step is written so that no
// compiler can contract it differently: float32 batches have the same bits on CPU and GPU.
#pragma once

#include "kernels/common/kernel.h"
#include "kernels/common/step_state.h"

namespace krait {

struct MakeBatch {
  static constexpr const char* name = "make_batch";
  static constexpr int max_channels = 3;
  DType dtype;            // of the images made
  int64_t B;              // pictures in the batch
  int channels, H, W, S;  // of the data set's pictures; S: side of the pictures made
  int classes;
  bool train;        // off: no crop, flip or mixing
  int crop_padding;  // the window lies anywhere in the picture with so many pixels around it
  bool flip;         // mirror half of the pictures
  bool mix;          // mix as `state` says
  double mean[max_channels], stddev[max_channels];  // of pixels in [0, 1]
  double smoothing;
  const uint8_t* pictures;  // (N, channels, H, W)
  const int32_t* labels;    // (N)
  const int32_t* order;     // (N)
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
