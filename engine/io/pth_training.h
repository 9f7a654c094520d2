// What PyTorch's trainers save of a training besides weights: the state of Adam, and where it was.
#pragma once

#include <optional>

#include "engine/io/state_dict.h"

namespace krait {

struct PthTraining {
  // As our own checkpoints name it: weights, "ema." + name, and where `progress` is there, Adam's
  // moments as "optimizer.m." and "optimizer.v." + name.
  SafeTensors content;
  struct Progress {
    int64_t epochs = 0;            // done
    uint64_t optimizer_steps = 0;  // done: Adam's t
  };
  std::optional<Progress> progress;
  std::string no_progress;  // why it is not there: "has no optimiser's state"
  std::string model;        // the trainer's --model, if it says so
  std::string options;      // JSON: what it says of the training, under this project's names
};

// The optimiser numbers parameters through its groups, and a group lists them in the model's order.
// timm's has one group that decays and one that does not, told apart by their weight_decay; plain
// PyTorch has one with all. A state that cannot be understood so leaves `progress` empty.
// InputError as read_pth_weights().
PthTraining read_pth_training(const std::string& path);
// The same of a file that has been read, of so many bytes.
PthTraining training_of(const PthValue& checkpoint, uint64_t file_bytes, const std::string& path);

}  // namespace krait
