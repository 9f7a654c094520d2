// Measures a whole training step, or the inference of a batch, of any model.
//   train: batch made on the device from random pictures, forward, loss, backward, AdamW with
//          clipping: what Trainer::forward_backward and Trainer::update do
//   remake: the same, with layers run again in the backward pass (engine/remake.h): less memory
//   infer: forward, with nothing kept; the pictures are on the device already
// On the GPU both are one captured CUDA graph each. Then the same step runs kernel by kernel, to
// see what share each has.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tools/launch_timer.h"

namespace krait {

enum class StepMode { train, remake, infer };

struct StepSetup {
  std::string model;
  int64_t batch = 1;
  int image_size = 0;  // 0: the model's
  StepMode mode = StepMode::train;
  Backend backend = Backend::cpu;
  std::string precision = "auto";  // auto, bf16, tf32, fp32; auto is bf16 on a GPU, else fp32
  bool two_streams = true;         // Context::two_streams
  std::vector<std::pair<std::string, std::string>> kernels;  // for Context::force
};

struct MeasuredStep {
  StepSetup setup;  // with what auto and 0 stand for
  int tokens = 0;
  Timing time;       // of a step
  size_t bytes = 0;  // of device memory: what a step needs and what outlives it
  std::vector<KernelTime> kernels;
  double empty_launch = 0;  // seconds that were taken off each of their launches
  double images_per_second() const {
    return static_cast<double>(setup.batch) / std::max(time.median, 1e-12);
  }
  double kernel_seconds() const;
};

// Throws InputError when the model cannot be had so, OutOfMemory when it does not fit.
MeasuredStep measure_step(const StepSetup& setup);

}  // namespace krait
