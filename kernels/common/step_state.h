// What changes from step to step. The host writes a StepState into device memory before each step
// and reads a StepResult afterwards, so the step itself (one captured graph) never changes.
#pragma once

#include <cstdint>

namespace krait {

enum class Mix : int32_t { none, mixup, cutmix };

struct StepState {
  uint64_t seed = 0;
  uint64_t step = 0;  // counts from 0: optimiser steps, or their parts (--accumulate)
  int64_t first = 0;  // where this batch starts in the epoch's order of pictures
  float lr = 0;
  float correction1 = 1, correction2 = 1;  // Adam: 1 / (1 - beta^t), t = optimiser step + 1
  float ema_share = 0;                     // the average moves at least so far: its warm-up
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
