// Reading and writing safetensors files; everything a damaged file can hold becomes one clear line.
#include "engine/safetensors.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "engine/io/checksum.h"
#include "engine/io/file.h"

namespace krait {

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string s = "(";
  for (size_t i = 0; i < shape.size(); ++i) s += cat(i ? ", " : "", shape[i]);
  return s + ")";
}
namespace {

using nlohmann::json;

constexpr uint64_t most_header_bytes = 100'000'000;  // the format's own limit

double from_half(uint16_t h) {
  const int exponent = (h >> 10) & 31, fraction = h & 1023;
  const double size = exponent == 31  ? (fraction ? NAN : INFINITY)
                      : exponent == 0 ? std::ldexp(fraction, -24)
                                      : std::ldexp(1024 + fraction, exponent - 25);
  return h & 0x8000 ? -size : size;
}

// Elements of a shape from a file; -1 if it is no shape.
int64_t checked_count(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (int64_t d : shape)
    if (d < 0 || __builtin_mul_overflow(n, d, &n)) return -1;
  return n;
}

constexpr const char *checksum_name = "checksum", *checksum_kind = "crc32c ";
constexpr const char* no_digits = "00000000";

// The checksum as it stands in a header, without spaces: "checksum":"crc32c 1234abcd".
std::string checksum_entry(const std::string& digits) {
  return cat('"', checksum_name, "\":\"", checksum_kind, digits, '"');
}

uint32_t checksum_of(uint32_t before, const void* bytes, size_t n) {
  return crc32c({static_cast<const char*>(bytes), n}, before);
}

struct Entry {
  std::string name, dtype;
  std::vector<int64_t> shape;
  uint64_t from, to;
};

// One tensor's entry of the header.
Entry read_entry(const std::string& path, const std::string& name, const json& v) {
  const std::string where = cat(path, ": tensor ", printable(name));
  KRAIT_INPUT(v.is_object() && v.contains("dtype") && v["dtype"].is_string() &&
                  v.contains("shape") && v["shape"].is_array() && v.contains("data_offsets") &&
                  v["data_offsets"].is_array() && v["data_offsets"].size() == 2,
              where, " has no proper entry in the header");
  Entry e{name, v["dtype"], {}, 0, 0};
  const json& offsets = v["data_offsets"];
  KRAIT_INPUT(offsets[0].is_number_unsigned() && offsets[1].is_number_unsigned(), where,
              " has offsets that are no numbers");
  e.from = offsets[0];
  e.to = offsets[1];
  for (const json& d : v["shape"]) {
    KRAIT_INPUT(d.is_number_unsigned(), where, " has a shape of other things than numbers");
    e.shape.push_back(d);
  }
  const int64_t size = StoredTensor::element_bytes(e.dtype), count = checked_count(e.shape);
  KRAIT_INPUT(size, where, " is of the unknown type ", printable(e.dtype));
  int64_t bytes = 0;
  KRAIT_INPUT(count >= 0 && !__builtin_mul_overflow(count, size, &bytes), where,
              " has an impossible shape");
  KRAIT_INPUT(e.from <= e.to && e.to - e.from == static_cast<uint64_t>(bytes), where, " needs ",
              bytes, " bytes for its shape and type, its offsets are ", e.from, " and ", e.to);
  return e;
}

}  // namespace

int64_t StoredTensor::element_bytes(const std::string& dtype) {
  static const std::map<std::string, int64_t> sizes = {
      {"F64", 8}, {"I64", 8}, {"U64", 8},     {"F32", 4},     {"I32", 4},
      {"U32", 4}, {"F16", 2}, {"BF16", 2},    {"I16", 2},     {"U16", 2},
      {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"BOOL", 1}};
  const auto it = sizes.find(dtype);
  return it == sizes.end() ? 0 : it->second;
}
bool StoredTensor::numeric() const {
  for (const char* t : {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"})
    if (dtype == t) return true;
  return false;
}
int64_t StoredTensor::count() const {
  return checked_count(shape);
}

std::vector<double> StoredTensor::values() const {
  std::vector<double> out(count());
  auto convert = [&]<class T>(auto to_double) {
    for (size_t i = 0; i < out.size(); ++i) {
      T v;
      std::memcpy(&v, bytes.data() + i * sizeof(T), sizeof(T));
      out[i] = to_double(v);
    }
  };
  auto plain = [](auto v) { return static_cast<double>(v); };
  if (dtype == "F64")
    convert.operator()<double>(plain);
  else if (dtype == "F32")
    convert.operator()<float>(plain);
  else if (dtype == "F16")
    convert.operator()<uint16_t>(from_half);
  else if (dtype == "BF16")
    convert.operator()<bf16>(plain);
  else if (dtype == "I64")
    convert.operator()<int64_t>(plain);
  else if (dtype == "I32")
    convert.operator()<int32_t>(plain);
  else if (dtype == "I16")
    convert.operator()<int16_t>(plain);
  else if (dtype == "I8")
    convert.operator()<int8_t>(plain);
  else if (dtype == "U8" || dtype == "BOOL")
    convert.operator()<uint8_t>(plain);
  else
    throw InputError(cat("tensors of type ", dtype, " cannot be used here"));
  return out;
}

StoredTensor StoredTensor::raw(std::string dtype, std::vector<int64_t> shape, const void* data,
                               size_t bytes) {
  StoredTensor t{std::move(dtype), std::move(shape), std::vector<std::byte>(bytes)};
  KRAIT_CHECK(t.count() >= 0 && static_cast<size_t>(t.count() * element_bytes(t.dtype)) == bytes,
              bytes, " bytes for ", t.count(), " values of type ", t.dtype);
  if (bytes) std::memcpy(t.bytes.data(), data, bytes);
  return t;
}
StoredTensor StoredTensor::f32(std::vector<int64_t> shape, const std::vector<double>& values) {
  const std::vector<float> v(values.begin(), values.end());
  return raw("F32", std::move(shape), v.data(), v.size() * sizeof(float));
}
StoredTensor StoredTensor::f64(std::vector<int64_t> shape, const std::vector<double>& values) {
  return raw("F64", std::move(shape), values.data(), values.size() * sizeof(double));
}

const StoredTensor* SafeTensors::find(const std::string& name) const {
  for (const auto& [n, t] : tensors)
    if (n == name) return &t;
  return nullptr;
}
const StoredTensor& SafeTensors::at(const std::string& name) const {
  const StoredTensor* t = find(name);
  KRAIT_INPUT(t, "the file has no tensor ", name);
  return *t;
}

SafeTensors read_safetensors(const std::string& path) {
  uint64_t size = 0;
  const File file(open_to_read(path, size));
  unsigned char length[8];
  KRAIT_INPUT(size >= 8 && file.read_all(length, 8), path, ": is not a safetensors file (only ",
              size, " bytes long)");
  uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; --i) header_bytes = header_bytes << 8 | length[i];
  KRAIT_INPUT(header_bytes <= most_header_bytes, path,
              ": is not a safetensors file (no header where one should be)");
  // The header starts with a brace in every such file: tells a cut-off file from another kind.
  std::string text(std::min(header_bytes, size - 8), '\0');
  KRAIT_INPUT(file.read_all(text.data(), text.size()), path, ": cannot be read");
  KRAIT_INPUT(text.empty() ? header_bytes > 0 : text[0] == '{', path,
              ": is not a safetensors file (no header where one should be)");
  KRAIT_INPUT(text.size() == header_bytes, path, ": is cut off (its header of ", header_bytes,
              " bytes does not fit into ", size, ")");
  const json header = json::parse(text, nullptr, false);
  KRAIT_INPUT(header.is_object(), path, ": is not a safetensors file (its header is not JSON)");

  SafeTensors content;
  std::vector<Entry> entries;
  for (const auto& [name, v] : header.items()) {
    if (name != "__metadata__") {
      entries.push_back(read_entry(path, name, v));
      continue;
    }
    KRAIT_INPUT(v.is_object(), path, ": its metadata is not a list of texts");
    for (const auto& [key, value] : v.items()) {
      KRAIT_INPUT(value.is_string(), path, ": its metadata ", printable(key), " is not a text");
      content.metadata[key] = value;
    }
  }
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.from, a.to) < std::pair(b.from, b.to);
  });
  const uint64_t data_bytes = size - 8 - header_bytes;
  uint64_t at = 0;
  for (const Entry& e : entries) {
    KRAIT_INPUT(e.from == at, path, ": tensor ", printable(e.name),
                e.from < at ? " overlaps another one" : " leaves a gap before it");
    at = e.to;
  }
  KRAIT_INPUT(at <= data_bytes, path, ": is cut off (", size, " bytes long, ",
              8 + header_bytes + at, " needed)");
  KRAIT_INPUT(at == data_bytes, path, ": has ", data_bytes - at, " bytes after its last tensor");
  // Checked last, so that what can be said in more detail is.
  const auto stored = content.metadata.extract(checksum_name);
  std::string digits;
  if (stored) {
    digits = stored.mapped().substr(std::min(stored.mapped().size(), std::strlen(checksum_kind)));
    const size_t place = text.find(checksum_entry(digits));
    KRAIT_INPUT(digits.size() == std::strlen(no_digits) && place != std::string::npos, path,
                ": is damaged: its checksum cannot be read");
    text.replace(place, checksum_entry(digits).size(), checksum_entry(no_digits));
  }
  uint32_t sum = checksum_of(checksum_of(0, length, 8), text.data(), text.size());
  content.tensors.reserve(entries.size());
  for (Entry& e : entries) {
    StoredTensor t{std::move(e.dtype), std::move(e.shape), std::vector<std::byte>(e.to - e.from)};
    KRAIT_INPUT(file.read_all(t.bytes.data(), t.bytes.size()), path, ": cannot be read");
    if (stored) sum = checksum_of(sum, t.bytes.data(), t.bytes.size());
    content.tensors.emplace_back(std::move(e.name), std::move(t));
  }
  KRAIT_INPUT(!stored || digits == fmt::format("{:08x}", sum), path,
              ": is damaged: its bytes do not match its checksum");
  return content;
}

void write_safetensors(const std::string& path, const SafeTensors& content,
                       const std::function<void(const std::string&)>& whole) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  nlohmann::ordered_json& metadata = header["__metadata__"];
  metadata[checksum_name] = cat(checksum_kind, no_digits);  // first, so that it is found first
  for (const auto& [key, value] : content.metadata)
    if (key != checksum_name) metadata[key] = value;
  uint64_t at = 0;
  for (const auto& [name, t] : content.tensors) {
    KRAIT_CHECK(name != "__metadata__" && !header.contains(name), "tensor ", name, " twice");
    header[name] = {
        {"dtype", t.dtype}, {"shape", t.shape}, {"data_offsets", {at, at + t.bytes.size()}}};
    at += t.bytes.size();
  }
  std::string text = header.dump(-1, ' ', false, json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the data is aligned
  unsigned char length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<unsigned char>(text.size() >> (8 * i));

  uint32_t sum = checksum_of(checksum_of(0, length, 8), text.data(), text.size());
  for (const auto& [name, t] : content.tensors)
    sum = checksum_of(sum, t.bytes.data(), t.bytes.size());
  const std::string entry = checksum_entry(no_digits);
  text.replace(text.find(entry), entry.size(), checksum_entry(fmt::format("{:08x}", sum)));

  write_file(
      path,
      [&](const File& file) {
        bool ok = file.write_all(length, 8) && file.write_all(text.data(), text.size());
        for (const auto& [name, t] : content.tensors)
          ok = ok && file.write_all(t.bytes.data(), t.bytes.size());
        return ok;
      },
      whole);
}

}  // namespace krait
