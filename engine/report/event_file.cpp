// Protocol buffers (https://protobuf.dev/programming-guides/encoding) in TFRecord frames.
#include "engine/report/event_file.h"

#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fmt/format.h>
#include <unistd.h>

#include "engine/io/checksum.h"
#include "kernels/common/error.h"

namespace krait {
namespace {

template <class T>
std::string little_endian(T v) {
  std::string s;
  for (size_t i = 0; i < sizeof(T); ++i) s += static_cast<char>((v >> (8 * i)) & 255);
  return s;
}

// A field is its number and the kind of its encoding, then its value.
std::string varint(uint64_t v) {
  std::string s;
  for (; v >= 128; v >>= 7) s += static_cast<char>((v & 127) | 128);
  return s + static_cast<char>(v);
}
std::string integer(int field, int64_t v) {
  return varint(field << 3 | 0) + varint(static_cast<uint64_t>(v));
}
std::string float64(int field, double v) {
  return varint(field << 3 | 1) + little_endian(std::bit_cast<uint64_t>(v));
}
std::string text(int field, const std::string& v) {  // or a message
  return varint(field << 3 | 2) + varint(v.size()) + v;
}
std::string float32(int field, float v) {
  return varint(field << 3 | 5) + little_endian(std::bit_cast<uint32_t>(v));
}

// A checksum of a checksum would be weak, so TFRecord turns and shifts it.
uint32_t masked(uint32_t crc) {
  return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;
}
std::string record(const std::string& data) {
  const std::string length = little_endian(static_cast<uint64_t>(data.size()));
  return length + little_endian(masked(crc32c(length))) + data +
         little_endian(masked(crc32c(data)));
}

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

EventFile::EventFile(const std::filesystem::path& folder, int64_t first_step) {
  // TensorBoard reads a folder's files in the order of their names.
  path_ = folder / fmt::format("events.out.tfevents.{:017.6f}.krait.{}", now(), getpid());
  out_.open(path_, std::ios::binary);
  add(0, text(3, "brain.Event:2"));         // file_version
  add(first_step, text(7, integer(1, 1)));  // session_log: status START
}

void EventFile::add(int64_t step, const std::string& what) {
  out_ << record(float64(1, now()) + integer(2, step) + what);
  KRAIT_INPUT(out_.flush(), path_.string(), ": cannot be written: ", std::strerror(errno));
}

void EventFile::add_scalars(int64_t step, const std::map<std::string, double>& values) {
  std::string summary;
  for (const auto& [name, v] : values)  // Summary.value { tag, simple_value }
    summary += text(1, text(1, name) + float32(2, static_cast<float>(v)));
  add(step, text(5, summary));
}

void EventFile::add_text(int64_t step, const std::string& name, const std::string& markdown) {
  const std::string plugin = text(1, text(1, "text"));  // plugin_data.plugin_name
  const std::string metadata = plugin + integer(4, 2);  // data_class TENSOR
  const std::string shape = text(2, integer(1, 1));     // dim { size: 1 }
  const std::string tensor = integer(1, 7) + text(2, shape) + text(8, markdown);  // strings
  add(step, text(5, text(1, text(1, name) + text(8, tensor) + text(9, metadata))));
}

}  // namespace krait
