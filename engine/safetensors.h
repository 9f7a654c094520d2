// Reads and writes safetensors files (huggingface/safetensors: 8 bytes length, JSON header, raw
// little-endian data).
#pragma once

#include <cstddef>
#include <functional>
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

// InputError with the file's name if it is missing, cut off, not such a file, or has a checksum
// that does not match. The checksum is not among the metadata that is returned.
SafeTensors read_safetensors(const std::string& path);
// As write_file() (io/file.h) does it. The metadata gets a "checksum": "crc32c 1234abcd", of all
// bytes of the file, with zeros in place of these eight digits.
void write_safetensors(const std::string& path, const SafeTensors& content,
                       const std::function<void(const std::string&)>& whole = {});

}  // namespace krait
