// Pickles, Python's format for objects, read as data.
#pragma once

#include "engine/io/pth.h"

namespace krait {

// What a pickle of torch.save says about a storage that lies outside of it.
struct StorageId {
  std::string key;
  uint64_t bytes, element_bytes;
  // Before PyTorch 0.4, a storage could be a part of another one: bytes [from, from + part_bytes).
  std::string part_key{};  // empty: it is not
  uint64_t from = 0, part_bytes = 0;
};
using FindStorage = std::function<std::shared_ptr<const PthStorage>(const StorageId&)>;

struct PickleOptions {
  std::string path;            // messages start with it
  bool big_endian = false;     // of the storages
  uint64_t tensor_bytes = 0;   // a tensor may have so many
  FindStorage find_storage{};  // none: no tensors are expected
};

// The value that the bytes from `at` on describe; moves `at` behind it. InputError for everything
// that is damaged, unknown, circular or nested too deep.
PthValue read_pickle(std::span<const std::byte> bytes, size_t& at, const PickleOptions& options);

}  // namespace krait
