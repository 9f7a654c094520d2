// Labelled pictures in memory, and their place on the device.
#pragma once

#include <string>
#include <vector>

#include "engine/context.h"

namespace krait {

struct Dataset {
  std::string name;  // "CIFAR10", "CIFAR100", "SYNTHETIC"
  int classes = 10, channels = 3, height = 32, width = 32;
  std::vector<std::string> class_names;
  std::vector<uint8_t> images;  // (count, channels, height, width)
  std::vector<int32_t> labels;
  std::array<double, 3> mean{}, stddev{};  // of the training set's channels, pixels in [0, 1]
  int64_t count() const { return static_cast<int64_t>(labels.size()); }
};

// `path`: a folder with the binary files (or with cifar-10-batches-bin/ in it), or the official
// cifar-10-binary.tar.gz. InputError says which files were looked for and how to get them, or which
// file is cut off or has a label that is too large.
Dataset load_cifar10(const std::string& path, bool train);
Dataset load_cifar100(const std::string& path, bool train);  // fine labels
// Ten classes of drawn pictures (discs, squares, stripes, ...) with random place, size, colours and
// noise: lets everything run with no download. Deterministic.
Dataset synthetic(bool train, int64_t count);

// How a batch is made from the data set, on the device, from (seed, step).
struct AugmentOptions {
  int size = 32;         // pictures are scaled to size x size (bilinear) after the crop
  int crop_padding = 4;  // random crop out of a picture padded by so many zero pixels; 0: no crop
  bool flip = true;
  std::array<double, 3> mean{}, stddev{};
  double smoothing = 0;  // label smoothing: s/C everywhere, 1 - s + s/C at the label
  bool mix = false;      // mixup or CutMix as StepState says
};

// A data set in device memory, with the order its pictures are taken in.
class DeviceDataset {
 public:
  DeviceDataset(Context& ctx, const Dataset& data);
  int64_t count() const { return count_; }
  int classes() const { return classes_; }
  // The order of one epoch: a permutation that depends on (seed, epoch), or 0, 1, 2, ...
  void shuffle(Context& ctx, uint64_t seed, uint64_t epoch);
  void in_order(Context& ctx);

  struct Batch {
    Tensor images;   // (B, 3, size, size) of type `dtype`
    Tensor targets;  // (B, classes) accum
  };
  // Pictures order[first .. first + B) where first = ctx.state->first, augmented when `augment`
  // says so. Never recorded on a tape.
  Batch batch(Context& ctx, int64_t B, const AugmentOptions& augment, bool train,
              DType dtype) const;

 private:
  Tensor images_, labels_, order_;
  int64_t count_;
  int classes_, height_, width_;
};

// Chooses the batch's mixing for step `state.step`: timm's Mixup in mode "batch". With probability
// `prob`, CutMix with probability `switch_prob` (when both are on), lambda ~ Beta(alpha, alpha).
// Runs on the host, so that CPU and GPU mix alike.
struct MixOptions {
  double mixup = 0, cutmix = 0, prob = 1, switch_prob = 0.5;
};
void draw_mix(StepState& state, const MixOptions& options, int size);

}  // namespace krait
