// Pickles and checkpoints put together by hand, as torch.save would never write them.
#pragma once

#include "engine/io/pth.h"
#include "engine/io/zip.h"
#include "tests/files.h"

namespace krait::by_hand {

inline std::string number(uint64_t v, int bytes) {
  std::string s;
  for (int i = 0; i < bytes; ++i) s += static_cast<char>(v >> (8 * i));
  return s;
}
inline std::string text(const std::string& s) {
  return cat("X", number(s.size(), 4), s);
}
inline std::string integer(int64_t v) {
  return cat("\x8a\x08", number(static_cast<uint64_t>(v), 8));
}
inline std::string global(const std::string& module, const std::string& name) {
  return cat("c", module, "\n", name, "\n");
}
inline std::string tuple(const std::string& items) {
  return cat("(", items, "t");
}
inline std::string integers(const std::vector<int64_t>& v) {
  std::string s;
  for (const int64_t i : v) s += integer(i);
  return tuple(s);
}
// A storage of `count` elements, in the zip format.
inline std::string storage(const std::string& type, const std::string& key, int64_t count) {
  return tuple(text("storage") + global("torch", type) + text(key) + text("cpu") + integer(count)) +
         "Q";
}
inline std::string tensor(const std::string& storage, int64_t offset,
                          const std::vector<int64_t>& shape, const std::vector<int64_t>& stride) {
  return global("torch._utils", "_rebuild_tensor_v2") +
         tuple(storage + integer(offset) + integers(shape) + integers(stride) + "\x89" +
               global("collections", "OrderedDict") + ")R") +
         "R";
}
inline std::string pickle(const std::string& value) {
  return cat("\x80\x02", value, ".");
}

inline std::shared_ptr<const Bytes> bytes(const std::string& s) {
  const auto all = std::as_bytes(std::span(s));
  return std::make_shared<const Bytes>(all.begin(), all.end());
}
// An archive with this value's pickle, and 24 numbers 0, 1, 2, ... (float32) as storage 0.
inline std::string archive(const std::string& value, const std::string& order = "little") {
  static const TemporaryFolder folder;
  std::vector<float> numbers(24);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i);
  const std::string p = pickle(value);
  auto raw = [](const std::string& s) { return std::as_bytes(std::span(s)); };
  write_zip(folder / "a", {{"x/data.pkl", raw(p)},
                           {"x/byteorder", raw(order)},
                           {"x/data/0", std::as_bytes(std::span(numbers))}});
  return file_content(folder / "a");
}
inline PthValue read(const std::string& content) {
  return read_pth(bytes(content), "file");
}
// What reading this value in an archive says.
inline std::string error(const std::string& value) {
  const std::string content = archive(value);
  return input_error([&] { read(content); });
}

// PyTorch's old format: a dict with one tensor (2, 3) of float32.
inline std::string legacy() {
  const std::string id = tuple(text("storage") + global("torch", "FloatStorage") + text("7") +
                               text("cpu") + integer(6) + "N") +
                         "Q";
  std::string s = "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20j\xa8P\x19.";
  s += pickle(integer(1001)) + pickle("}") +
       pickle(cat("}", text("w")) + tensor(id, 0, {2, 3}, {3, 1}) + "s");
  s += pickle(cat("](", text("7")) + "e") + number(6, 8);
  for (const float v : {1.f, 2.f, 3.f, 4.f, 5.f, 6.f})
    s += std::string(reinterpret_cast<const char*>(&v), sizeof v);
  return s;
}

}  // namespace krait::by_hand
