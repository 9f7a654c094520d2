// What is fuzzed: every reader of files that may come from anywhere. A target takes any bytes; the
// reader reads them or throws InputError. Anything else (a crash, a hang, another exception, much
// memory, what a sanitizer finds) is a mistake.
#pragma once

#include <fcntl.h>
#include <filesystem>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/data/dataset.h"
#include "engine/data/image_file.h"
#include "engine/data/resize.h"
#include "engine/data/tar.h"
#include "engine/io/checksum.h"
#include "engine/io/pickle.h"
#include "engine/io/pth_training.h"

namespace krait::fuzz {

using Input = std::span<const std::byte>;

// A file in memory, for readers that want a path.
class MemoryFile {
 public:
  explicit MemoryFile(Input data) : fd_(memfd_create("fuzz", MFD_CLOEXEC)) {
    KRAIT_CHECK(fd_ >= 0 && write(fd_, data.data(), data.size()) == std::ssize(data),
                "no file in memory");
  }
  MemoryFile(const MemoryFile&) = delete;
  ~MemoryFile() { close(fd_); }
  std::string path() const { return cat("/proc/self/fd/", fd_); }

 private:
  int fd_;
};

inline void use(const PthValue& file, uint64_t bytes) {
  for (const bool average : {false, true})
    if (const StateDict s = find_state_dict(file, average); s.dict)
      tensors_of(*s.dict, bytes, "file");
  if (find_state_dict(file, false).dict) training_of(file, bytes, "file");
}

inline void pth(Input data) {
  use(read_pth(std::make_shared<const Bytes>(data.begin(), data.end()), "file"), data.size());
}

// The pickle alone: no zip archive around it, whose checksums a fuzzer does not get right.
inline void pickle(Input data) {
  static const Bytes numbers(96);
  const PickleOptions options{
      "file", false, pth_budget(data.size()), [](const StorageId& id) {
        KRAIT_INPUT(id.bytes <= numbers.size(), "file: too large");
        return std::make_shared<const PthStorage>(PthStorage{numbers.size(), numbers, nullptr});
      }};
  size_t at = 0;
  use(read_pickle(data, at, options), data.size());
}

inline void safetensors(Input data) {
  const MemoryFile file(data);
  for (const auto& [name, t] : read_safetensors(file.path()).tensors)
    if (t.numeric()) t.values();
}

inline void tar(Input data) {
  const MemoryFile file(data);
  read_tar(file.path(), {"data_batch_1.bin", "test_batch.bin"});
}

// CIFAR-10's test set with changes: two bytes are added to its size, then for every three bytes a
// label is set (record, label).
inline void cifar(Input data) {
  struct Folder {
    std::string path = cat("/dev/shm/krait_fuzz_", getpid());
    Folder() { std::filesystem::create_directory(path); }
    ~Folder() { std::filesystem::remove_all(path); }
  };
  static const Folder folder;
  constexpr off_t record = 1 + 3072, size = 10000 * record;
  const std::string path = folder.path + "/test_batch.bin";
  const File file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  auto at = [&](size_t i) { return i < data.size() ? static_cast<off_t>(data[i]) : 0; };
  KRAIT_CHECK(ftruncate(file.fd(), 0) == 0 && ftruncate(file.fd(), size + at(0) - at(1)) == 0,
              "no file");
  for (size_t i = 2; i + 2 < data.size(); i += 3)
    KRAIT_CHECK(pwrite(file.fd(), &data[i + 2], 1, (at(i) << 8 | at(i + 1)) % 10000 * record) == 1,
                "no file");
  load_cifar10(folder.path, false);
}

// With the checksums that a PNG's chunks should have, which a fuzzer does not get right.
inline std::vector<std::byte> with_checksums(Input data) {
  std::vector<std::byte> b(data.begin(), data.end());
  auto number = [&](size_t at) {
    uint32_t v = 0;
    for (size_t i = 0; i < 4; ++i) v = v << 8 | static_cast<uint32_t>(b[at + i]);
    return v;
  };
  const std::string_view text(reinterpret_cast<const char*>(b.data()), b.size());
  if (!text.starts_with("\x89PNG")) return b;
  for (size_t at = 8; at + 12 <= b.size();) {
    const size_t length = number(at);
    if (length > b.size() - at - 12) break;
    const uint32_t crc = crc32(text.substr(at + 4, length + 4));
    for (int i = 0; i < 4; ++i)
      b[at + 8 + length + i] = static_cast<std::byte>(crc >> (24 - 8 * i) & 255);
    at += length + 12;
  }
  return b;
}

// As classify and training take a picture: its header, all of it, scaled.
inline void image(Input data) {
  const std::vector<std::byte> bytes = with_checksums(data);
  const MemoryFile file(bytes);
  int height = 0, width = 0;
  Picture picture;
  const bool promising = probe_picture(file.path(), height, width).empty();
  if (!read_picture(file.path(), picture).empty()) return;
  KRAIT_CHECK(promising && picture.height == height && picture.width == width &&
                  std::ssize(picture.pixels) == int64_t{3} * height * width,
              "header and picture differ");
  uint8_t out[3 * 8 * 8];
  for (const bool bicubic : {false, true})
    resize_picture(picture, {0, 0, height, width}, 8, 8, {0, 0, 8, 8}, bicubic, out);
}

using Target = void (*)(Input);
struct NamedTarget {
  const char* name;
  Target run;
};
constexpr NamedTarget targets[] = {{"pth", pth}, {"pickle", pickle}, {"safetensors", safetensors},
                                   {"tar", tar}, {"cifar", cifar},   {"image", image}};

// The reader's errors are all right.
inline void check(Target target, Input data) {
  try {
    target(data);
  } catch (const InputError&) {
  }
}

}  // namespace krait::fuzz
