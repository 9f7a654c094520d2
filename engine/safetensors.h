// Reads and writes safetensors files (huggingface/safetensors: 8 bytes length, JSON header, raw
// little-endian data).
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "engine/tensor.h"

namespace krait {

struct StoredTensor {
  std::string dtype;  // as the format calls it: "F32", "BF16", "I64", ...
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
  int64_t count() const;
  // Any of F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL, converted; InputError for other types.
  std::vector<double> values() const;
  bool numeric() const;                                    // one of these types
  static int64_t element_bytes(const std::string& dtype);  // 0: no such type
  static StoredTensor f32(std::vector<int64_t> shape, const std::vector<double>& values);
  static StoredTensor f64(std::vector<int64_t> shape, const std::vector<double>& values);
  static StoredTensor raw(std::string dtype, std::vector<int64_t> shape, const void* data,
                          size_t bytes);
};
std::string shape_text(const std::vector<int64_t>& shape);  // "(10, 192)"

struct SafeTensors {
  std::map<std::string, std::string> metadata;
  std::vector<std::pair<std::string, StoredTensor>> tensors;  // in the order of the file
  const StoredTensor* find(const std::string& name) const;
  const StoredTensor& at(const std::string& name) const;  // InputError naming it if absent
};

// InputError with the file's name if it is missing, cut off or not such a file.
SafeTensors read_safetensors(const std::string& path);
// To a temporary file beside it, flushed to disk, then renamed: an interrupted write loses nothing.
void write_safetensors(const std::string& path, const SafeTensors& content);

}  // namespace krait
