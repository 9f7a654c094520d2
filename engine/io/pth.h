// PyTorch checkpoints (.pth, .pt) as plain values, read without running anything, and written.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "engine/io/file.h"
#include "engine/safetensors.h"

namespace krait {

// The numbers that tensors are views of.
struct PthStorage {
  uint64_t bytes = 0;
  std::span<const std::byte> data;    // `bytes` of them, once the file has been read
  std::shared_ptr<const void> owner;  // of the memory
};

struct PthTensor {
  std::string dtype;                   // as StoredTensor calls it
  std::vector<int64_t> shape, stride;  // stride: in elements
  int64_t offset = 0;                  // of the first element, in elements
  bool big_endian = false;
  std::shared_ptr<const PthStorage> storage;
  int64_t count() const;
  int64_t bytes() const;        // of a packed copy
  StoredTensor stored() const;  // a packed copy in this machine's byte order
};

// One value of a checkpoint, and all that is in it.
struct PthValue {
  enum class Kind : uint8_t {
    none,
    boolean,
    integer,
    real,
    text,
    bytes,
    list,
    tuple,
    set,
    dict,    // items: key, value, key, value, ... in the order of the file
    object,  // text: its type, such as "argparse.Namespace"; items as those of a dict
    tensor,
  };
  Kind kind = Kind::none;
  int64_t integer = 0;  // boolean too
  double real = 0;
  std::string text;
  std::vector<PthValue> items;
  std::shared_ptr<const PthTensor> tensor;

  bool is(Kind k) const { return kind == k; }
  // The value under a key of a dict, or an object's attribute; null if there is none.
  const PthValue* find(std::string_view key) const;
  // For writing.
  static PthValue of(int64_t v);
  static PthValue of(double v);
  static PthValue of(const std::string& v);
  static PthValue of(StoredTensor v);
  static PthValue dict();
  PthValue& add(const std::string& key, PthValue value);  // to a dict; returns the dict
};

// How many bytes of memory a file may ask for: a few bytes can describe a huge tensor (stride 0).
uint64_t pth_budget(uint64_t file_bytes);

// Does the file start like one? (No: take it for safetensors.) InputError if it cannot be read.
bool is_pth(const std::string& path);
// Both formats of torch.save: zip archives (since PyTorch 1.6) and the one before. The tensors keep
// the file's content in memory. InputError in one line that starts with the path.
PthValue read_pth(const std::string& path);
PthValue read_pth(std::shared_ptr<const Bytes> content, const std::string& path);

// As torch.save writes it, readable by torch.load(weights_only=True). Objects are refused, since
// that would refuse them.
void write_pth(const std::string& path, const PthValue& value, bool zip64 = false);

}  // namespace krait
