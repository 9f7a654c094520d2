// stb_image behind two functions, and what it does not notice: files that are cut off or damaged.
#include "engine/data/image_file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <span>

#include "kernels/common/error.h"

#if KRAIT_STB
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#define STB_IMAGE_STATIC
// Cleared: it reads Huffman tables that a damaged JPEG does not have.
#define STBI_MALLOC(size) std::calloc(1, size)
#define STBI_REALLOC(p, size) std::realloc(p, size)
#define STBI_FREE(p) std::free(p)
#define STB_IMAGE_IMPLEMENTATION
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#include <stb/stb_image.h>
#pragma GCC diagnostic pop
#endif

namespace krait {

std::string size_fault(int64_t height, int64_t width) {
  if (height > most_pixels || width > most_pixels || width * height > most_pixels)
    return cat("is too large (", width, " x ", height, " pixels)");
  if (height <= 0 || width <= 0) return cat("has no pixels (", width, " x ", height, ")");
  if (std::max(height, width) > longest * std::min(height, width))
    return cat("is too long and narrow (", width, " x ", height, " pixels)");
  return "";
}

#if KRAIT_STB
namespace {

using Bytes = std::span<const uint8_t>;

uint32_t big_endian(Bytes b, size_t at) {
  return uint32_t{b[at]} << 24 | uint32_t{b[at + 1]} << 16 | uint32_t{b[at + 2]} << 8 | b[at + 3];
}
uint32_t little_endian(Bytes b, size_t at) {
  return uint32_t{b[at + 3]} << 24 | uint32_t{b[at + 2]} << 16 | uint32_t{b[at + 1]} << 8 | b[at];
}

bool starts_with(Bytes b, std::initializer_list<uint8_t> start) {
  return b.size() >= start.size() && std::equal(start.begin(), start.end(), b.begin());
}
bool is_png(Bytes b) {
  return starts_with(b, {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'});
}
bool is_jpeg(Bytes b) {
  return starts_with(b, {0xFF, 0xD8, 0xFF});
}
bool is_bmp(Bytes b) {
  return starts_with(b, {'B', 'M'});
}

// CRC-32 as PNG (ISO/IEC 15948, annex D) defines it.
uint32_t crc(Bytes b) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> t{};
    for (uint32_t n = 0; n < 256; ++n) {
      t[n] = n;
      for (int bit = 0; bit < 8; ++bit) t[n] = (t[n] & 1 ? 0xEDB88320u : 0u) ^ t[n] >> 1;
    }
    return t;
  }();
  uint32_t c = ~0u;
  for (uint8_t byte : b) c = table[(c ^ byte) & 255] ^ c >> 8;
  return ~c;
}

// A PNG is a row of chunks: length, type, data, CRC of type and data. The last is IEND.
std::string png_fault(Bytes b) {
  for (size_t at = 8; at + 12 <= b.size();) {
    const size_t length = big_endian(b, at);
    if (length > b.size() - at - 12) break;
    if (crc(b.subspan(at + 4, length + 4)) != big_endian(b, at + 8 + length)) return "is damaged";
    if (std::memcmp(&b[at + 4], "IEND", 4) == 0) return "";
    at += length + 12;
  }
  return "is cut off";
}

// A segment with Huffman tables: for each its number, how many codes there are of 1 .. 16 bits, and
// their values. stb_image does not check that there are at most 256 (nor that they are codes at
// all).
bool huffman_tables(Bytes b) {
  while (!b.empty()) {
    if (b.size() < 17) return false;
    size_t codes = 0, room = 1;  // room: codes of this length that no shorter one begins
    for (size_t bits = 1; bits <= 16; ++bits) {
      room *= 2;
      if (b[bits] > room) return false;
      room -= b[bits];
      codes += b[bits];
    }
    if (codes > 256 || b.size() < 17 + codes) return false;
    b = b.subspan(17 + codes);
  }
  return true;
}

constexpr int most_scans = 200;  // of a progressive JPEG

// A JPEG is a row of segments that start with FF and a mark; a scan's coded bytes follow its
// segment, and in them FF is followed by 00 or by a restart mark (D0 to D7). The end is FF D9.
std::string jpeg_fault(Bytes b) {
  // Each scan is worked on for all pixels. Where none refines another, a colour is in one.
  int scans = 0, most = most_scans;
  for (size_t at = 2; at + 2 <= b.size();) {
    if (b[at] != 0xFF) {  // coded bytes: on to the next FF
      const void* next = std::memchr(&b[at], 0xFF, b.size() - at);
      if (!next) break;
      at = static_cast<const uint8_t*>(next) - b.data();
      continue;
    }
    const uint8_t mark = b[at + 1];
    if (mark == 0xD9) return "";
    if (mark == 0xFF) {
      ++at;
    } else if (mark <= 1 || (mark >= 0xD0 && mark <= 0xD7)) {
      at += 2;
    } else {
      if (at + 4 > b.size()) break;
      const size_t length = b[at + 2] << 8 | b[at + 3];
      if (at + 2 + length > b.size()) {
        if (mark == 0xC4) return "is damaged";  // its reader would make up the rest of the table
        break;
      }
      if (length < 2 || (mark == 0xC4 && !huffman_tables(b.subspan(at + 4, length - 2))))
        return "is damaged";
      const bool sequential = mark == 0xC0 || mark == 0xC1;
      if (sequential && length >= 8) most = b[at + 9];  // colours
      if (mark == 0xDA && ++scans > most) return "has more scans than a picture needs";
      at += 2 + length;
    }
  }
  return "is cut off";
}

// A BMP's rows are padded to multiples of four bytes; they start where the header says.
std::string bmp_fault(Bytes b, int64_t height, int64_t width) {
  if (b.size() < 30) return "is cut off";
  const bool old = little_endian(b, 14) == 12;
  const int64_t bits = old ? b[24] | b[25] << 8 : b[28] | b[29] << 8;
  const int64_t rows = height * ((width * bits + 31) / 32 * 4);
  return little_endian(b, 10) + rows > std::ssize(b) ? "is cut off" : "";
}

// What stb_image says about its last failure in this thread.
std::string reason() {
  const char* why = stbi_failure_reason();
  if (why && std::strcmp(why, "outofmem") == 0) throw std::bad_alloc();
  return cat("cannot be decoded (", why ? why : "unknown", ")");
}

// Size of the picture whose file starts with `b`.
std::string header_fault(Bytes b, int& height, int& width) {
  if (b.empty()) return "is empty";
  if (!is_png(b) && !is_jpeg(b) && !is_bmp(b)) return "is not a PNG, JPEG or BMP picture";
  if (is_jpeg(b) && jpeg_fault(b) == "is damaged") return "is damaged";
  int channels;
  const bool known =
      stbi_info_from_memory(b.data(), static_cast<int>(b.size()), &width, &height, &channels);
  int64_t w = width, h = height;
  if (!known && is_png(b) && b.size() >= 24)  // it does not know those it finds too large
    w = big_endian(b, 16), h = big_endian(b, 20);
  else if (!known)
    w = h = 0;
  if (std::string fault = size_fault(h, w); !fault.empty() && h > 0 && w > 0) return fault;
  return known && w > 0 && h > 0 ? "" : "has a header that cannot be read";
}

// All of a file, or its first bytes. Returns what is wrong.
std::string read_bytes(const std::string& path, size_t most, std::vector<uint8_t>& bytes) {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!file) return cat("cannot be opened (", std::strerror(errno), ")");
  bytes.clear();
  for (size_t chunk = 1 << 16; bytes.size() < most;) {
    const size_t before = bytes.size(), asked = std::min(chunk, most - before);
    bytes.resize(before + asked);
    const size_t got = std::fread(bytes.data() + before, 1, asked, file.get());
    bytes.resize(before + got);
    if (std::ferror(file.get())) return cat("cannot be read (", std::strerror(errno), ")");
    if (got < asked) break;
    chunk *= 2;
  }
  if (bytes.size() >= size_t{1} << 31) return "is too large";  // stb_image counts in int
  return "";
}

// Could a file of so many bytes hold that many pixels? A JPEG codes 64 of them (of its finest
// colour) in a bit at least. Deflate makes at most 1032 bytes out of one (zlib's technical notes).
bool can_hold(Bytes b, int64_t height, int64_t width) {
  const int64_t bytes = std::ssize(b);
  if (is_jpeg(b)) return height * width <= 64 * 8 * bytes;
  if (!is_png(b)) return true;  // bmp_fault looks
  const int channels = b[25] == 2 ? 3 : b[25] == 6 ? 4 : b[25] == 4 ? 2 : 1;
  return (width * channels * b[24] + 7) / 8 * height <= 1032 * bytes;
}

std::string decode(Bytes b, Picture& to) {
  if (std::string fault = header_fault(b, to.height, to.width); !fault.empty()) return fault;
  if (std::string fault = is_png(b)    ? png_fault(b)
                          : is_jpeg(b) ? jpeg_fault(b)
                                       : bmp_fault(b, to.height, to.width);
      !fault.empty())
    return fault;
  if (!can_hold(b, to.height, to.width))
    return cat("is damaged (", to.width, " x ", to.height, " pixels cannot be in ", b.size(),
               " bytes)");
  int channels;
  const std::unique_ptr<uint8_t, void (*)(void*)> rgb(
      stbi_load_from_memory(b.data(), static_cast<int>(b.size()), &to.width, &to.height, &channels,
                            3),
      stbi_image_free);
  if (!rgb) return reason();
  to.pixels.assign(rgb.get(), rgb.get() + int64_t{3} * to.height * to.width);
  return "";
}

}  // namespace

std::string read_picture(const std::string& path, Picture& to) {
  std::vector<uint8_t> bytes;
  if (std::string fault = read_bytes(path, SIZE_MAX, bytes); !fault.empty()) return fault;
  return decode(bytes, to);
}

std::string probe_picture(const std::string& path, int& height, int& width) {
  std::vector<uint8_t> bytes;
  constexpr size_t start = 4096;
  if (std::string fault = read_bytes(path, start, bytes); !fault.empty()) return fault;
  std::string fault = header_fault(bytes, height, width);
  if (!fault.empty() && bytes.size() == start) {  // maybe the size stands further on
    if (std::string other = read_bytes(path, SIZE_MAX, bytes); !other.empty()) return other;
    fault = header_fault(bytes, height, width);
  }
  return fault;
}

void check_can_read_pictures() {}
#else
std::string read_picture(const std::string&, Picture&) {
  return "cannot be read without stb_image";
}
std::string probe_picture(const std::string&, int&, int&) {
  return "cannot be read without stb_image";
}
void check_can_read_pictures() {
  throw InputError(
      "this program was built without stb_image: image folders cannot be read "
      "(Debian: libstb-dev)");
}
#endif

}  // namespace krait
