// The weights of a model out of any checkpoint: a state dict is a dict of names and tensors.
#pragma once

#include "engine/io/pth.h"

namespace krait {

struct StateDict {
  const PthValue* dict = nullptr;  // null: there is none
  std::string key;                 // where it was found: "model", "state_dict", ...; "": the top
};
// Where trainers put weights (`average` false) or their exponential moving average. A file that is
// a state dict itself has weights only.
StateDict find_state_dict(const PthValue& checkpoint, bool average);

// Its tensors, under their names without a "module." (DistributedDataParallel) or "_orig_mod."
// (torch.compile) that all of them start with. InputError starting with `path` if they need far
// more memory than `file_bytes`.
struct NamedTensors {
  std::vector<std::pair<std::string, StoredTensor>> tensors;
  std::vector<std::string> others;  // names of what is no tensor
};
NamedTensors tensors_of(const PthValue& state_dict, uint64_t file_bytes, const std::string& path);

// What a trainer of the PyTorch world saved, as our own checkpoints name it: the weights, and their
// average with "ema." before every name. Metadata "pictures": what `--convert` of
// inspect_checkpoint took along. InputError if there are no weights in it.
SafeTensors read_pth_weights(const std::string& path);
// The same of a file that has been read, of so many bytes.
SafeTensors weights_of(const PthValue& checkpoint, uint64_t file_bytes, const std::string& path);

}  // namespace krait
