// What changes from step to step. The host writes a StepState into device memory before each step
// and reads a StepResult afterwards, so the step itself (one captured graph) never changes.
#pragma once

#include <cstdint>

#include "kernels/common/dtype.h"

namespace krait {

enum class Mix : int32_t { none, mixup, cutmix };

// The pictures of a step's batch that this process has, where several share it. Half of them come
// from the front of the batch and half from its back, so that a picture and the one it is mixed
// with, as far from the other end, are in one process.
struct Share {
  int64_t pictures = 0, all = 0;  // here, and in the whole batch; 0: the whole batch is here
  int64_t half = 0;               // the first so many come from the front
  int64_t front = 0, back = 0;    // how far they are moved, and the others
  // Where picture i stands in the whole batch. All random numbers of a picture depend on this. (A
  // loss may have the batch twice, one after the other.)
  KRAIT_HD int64_t place(int64_t i) const {
    if (pictures == 0) return i;
    const int64_t copy = i / pictures, k = i - copy * pictures;
    return copy * all + k + (k < half ? front : back);
  }
};

// Of rank `rank` out of `size`, each with so many pictures.
inline Share share_of(int64_t pictures, int rank, int size) {
  if (size == 1) return {};
  const int64_t half = pictures / 2, rest = pictures - half;
  return {pictures, pictures * size, half, rank * half,
          size * half + (size - 1 - rank) * rest - half};
}

struct StepState {
  uint64_t seed = 0;
  uint64_t step = 0;  // counts from 0: optimiser steps, or their parts (--accumulate)
  int64_t first = 0;  // where this batch starts in the epoch's order of pictures
  Share share = {};   // which of its pictures are here
  float lr = 0;
  float correction1 = 1, correction2 = 1;  // Adam: 1 / (1 - beta^t), t = optimiser step + 1
  float ema_share = 0;                     // the average moves at least so far: its warm-up
  int32_t operates = 1;                    // 0: a step without picture operations (--aa)
  int32_t mixes = 1;                       // 0: a step without mixing
  Mix mix = Mix::none;                     // how the batch is mixed with itself reversed
  float lambda = 1;                        // the share of the picture itself in its target
  int32_t box_x0 = 0, box_x1 = 0, box_y0 = 0, box_y1 = 0;  // CutMix: [x0, x1) x [y0, y1)
};

struct StepResult {
  float loss = 0;
  float grad_norm = 0;  // before clipping
  int32_t halted = 0;   // a gradient was not finite: no later step changes the parameters
  int32_t pad = 0;
};

// Sums over batches, for training loss and evaluation.
struct Totals {
  double loss = 0;  // sum over samples
  int64_t count = 0, top1 = 0, top5 = 0;
};

// What a model says of one picture.
struct Prediction {
  int32_t label = -1;     // the class of the largest logit, of equals the first; -1: all are NaN
  float probability = 0;  // of that class
  float loss = 0;
};

}  // namespace krait
