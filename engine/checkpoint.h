// Checkpoints: everything needed to go on with a training as if it had not been interrupted, in one
// safetensors file. The weights have their published names, so other programs can read them;
// moments are "optimizer.m.<name>" and "optimizer.v.<name>", the average is "ema.<name>". A file
// that holds only weights (a bare state dict) can be loaded too.
#pragma once

#include <future>
#include <memory>
#include <optional>
#include <string>

#include "engine/io/file.h"
#include "engine/params.h"
#include "engine/safetensors.h"
#include "kernels/common/step_state.h"

namespace krait {

struct TrainState {
  uint64_t step = 0;  // optimiser steps done: the next one's number, which all random numbers use
  uint64_t seed = 0;
  int64_t epoch = 0, step_in_epoch = 0;  // of the next step
  Totals epoch_totals;                   // of the unfinished epoch
  double best_acc1 = 0;
  int64_t best_epoch = -1;
  double seconds = 0;        // trained so far
  double epoch_seconds = 0;  // of which in the unfinished epoch
  // Adam's t minus `step`: not 0 in a training that another program began.
  int64_t optimizer_ahead = 0;
  std::string model, config, options;  // the model's name; JSON
  std::string pictures = {};  // JSON (data/test_pictures.h); empty in files of before it was kept
};

struct Checkpoint {
  std::string path;
  SafeTensors content;
  std::optional<TrainState> state;  // of a training of this project
  // Where another trainer stood: epoch, step (Adam's t), model and options, as far as it says so;
  // how many steps an epoch had is not known.
  std::optional<TrainState> foreign;
  std::string no_state;  // why neither is there: "has weights only"
  bool has_ema() const;
};

// The file that a new checkpoint replaces is kept under this name, beside it:
// "folder/previous_checkpoint.safetensors".
std::string previous_checkpoint(const std::string& path);

// Flushed to disk under a temporary name, then renamed; a whole file that has the name becomes the
// previous one. At every moment one of the two is whole. InputError if that is not possible.
void save_checkpoint(Context& ctx, const std::string& path, const ParamStore& params,
                     const TrainState& state);

// The same while the training goes on: save() copies what is to be written and returns; a thread
// writes it. One file may have several names; the first is that of which a previous one is kept,
// and which the file gets last.
class CheckpointWriter {
 public:
  // Waits for the file before. `params` must live until this one is written.
  void save(Context& ctx, const std::vector<std::string>& paths, const ParamStore& params,
            const TrainState& state);
  // Waits until everything is written. InputError (save()'s too) if that was not possible.
  void finish();
  // Does not wait, and throws what finish() would as soon as it is known.
  void check();

 private:
  std::shared_ptr<std::string> own_ = std::make_shared<std::string>();  // last file: it is whole
  std::shared_ptr<std::byte> host_;  // the blocks, one after the other; pinned
  size_t host_bytes_ = 0;
  std::future<void> writing_;  // waits when it goes
};

// InputError in one line: no such file, not a checkpoint, cut off, damaged.
Checkpoint read_checkpoint(const std::string& path);
// The previous one if the file is missing or damaged; `warning` then says why, in one line.
// InputError if neither can be read.
Checkpoint read_checkpoint_or_previous(const std::string& path, std::string& warning);

// Weights, average (the weights themselves if the file has none) and, with `resume`, moments.
// InputError naming the first differing names and shapes if it is of another model, or has no
// moments; nothing is changed then.
void load_checkpoint(Context& ctx, const Checkpoint& from, ParamStore& params, bool resume);

// Makes the folder if it is not there, and keeps other trainings out of it as long as the returned
// file is open: it is the folder's ".lock". InputError if files cannot be written in the folder, or
// another training has it.
[[nodiscard]] std::unique_ptr<File> take_output_folder(const std::string& folder);

}  // namespace krait
