// Pictures that tests draw and write as files.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <unistd.h>
#include <vector>

#include "engine/data/image_file.h"
#include "kernels/common/error.h"
#include "kernels/common/random.h"

namespace krait {

// A folder that is gone with the object.
struct TempFolder {
  std::filesystem::path path;
  explicit TempFolder(const char* name)
      : path(std::filesystem::temp_directory_path() / cat("krait_", name, "_", getpid())) {
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(path);
  }
  ~TempFolder() { std::filesystem::remove_all(path); }
  TempFolder(const TempFolder&) = delete;
  std::string operator/(const std::string& name) const { return (path / name).string(); }
};

// Smooth colours and a little noise, another picture for every `number`.
inline Picture drawn_picture(int height, int width, uint32_t number) {
  Picture p{height, width, {}};
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const Random4 r = philox(number, 0, y, x);
      for (uint32_t c = 0; c < 3; ++c)
        p.pixels.push_back(static_cast<uint8_t>(
            (x * (2 + c) * 96 / width + y * 80 / height + number * 37 * (c + 1)) % 230 +
            r.word[c] % 16));
    }
  return p;
}

// The four letters and bytes of numbers, as file formats want them.
inline std::string big_endian_bytes(uint32_t v) {
  return {static_cast<char>(v >> 24), static_cast<char>(v >> 16), static_cast<char>(v >> 8),
          static_cast<char>(v)};
}
inline std::string little_endian_bytes(uint32_t v, int count) {
  std::string s;
  for (int i = 0; i < count; ++i) s += static_cast<char>(v >> (8 * i));
  return s;
}

inline std::string bmp_bytes(const Picture& p) {
  const int row = (3 * p.width + 3) / 4 * 4;
  const auto size = static_cast<uint32_t>(54 + row * p.height);
  std::string s = "BM" + little_endian_bytes(size, 4) + std::string(4, '\0') +
                  little_endian_bytes(54, 4) + little_endian_bytes(40, 4);
  s += little_endian_bytes(static_cast<uint32_t>(p.width), 4) +
       little_endian_bytes(static_cast<uint32_t>(p.height), 4) + little_endian_bytes(1, 2) +
       little_endian_bytes(24, 2) + std::string(24, '\0');
  for (int y = p.height - 1; y >= 0; --y) {  // from the bottom, blue first
    for (int x = 0; x < p.width; ++x)
      for (int c = 2; c >= 0; --c) s += static_cast<char>(p.pixels[(y * p.width + x) * 3 + c]);
    s.append(row - 3 * p.width, '\0');
  }
  return s;
}

inline std::string png_chunk(const std::string& type, const std::string& data) {
  uint32_t crc = ~0u;
  for (unsigned char byte : type + data) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1 ? 0xEDB88320u : 0u) ^ crc >> 1;
  }
  return big_endian_bytes(static_cast<uint32_t>(data.size())) + type + data +
         big_endian_bytes(~crc);
}
// `rows`: the bytes of the picture, `row` in each line, not compressed. `colour`: 0 grey, 2 RGB, 4
// grey and alpha, 6 RGB and alpha.
inline std::string png_bytes(int height, int width, int bits, int colour, const std::string& rows,
                             int row) {
  std::string raw;
  for (int y = 0; y < height; ++y) raw += '\0' + rows.substr(size_t(y) * row, row);
  std::string z = "\x78\x01";
  uint32_t a = 1, b = 0;
  for (unsigned char byte : raw) b = (b + (a = (a + byte) % 65521)) % 65521;
  for (size_t at = 0; at < raw.size(); at += 65535) {
    const auto n = static_cast<uint32_t>(std::min<size_t>(65535, raw.size() - at));
    z += static_cast<char>(at + n == raw.size());
    z += little_endian_bytes(n, 2) + little_endian_bytes(~n, 2) + raw.substr(at, n);
  }
  z += big_endian_bytes(b << 16 | a);
  std::string header = big_endian_bytes(static_cast<uint32_t>(width)) +
                       big_endian_bytes(static_cast<uint32_t>(height));
  header += {static_cast<char>(bits), static_cast<char>(colour), '\0', '\0', '\0'};
  return "\x89PNG\r\n\x1a\n" + png_chunk("IHDR", header) + png_chunk("IDAT", z) +
         png_chunk("IEND", "");
}
inline std::string png_bytes(const Picture& p) {
  return png_bytes(p.height, p.width, 8, 2, {p.pixels.begin(), p.pixels.end()}, 3 * p.width);
}

inline void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace krait
