// PNG (https://www.w3.org/TR/png-3), with zlib's and deflate's framing (RFC 1950, 1951) around
// blocks that are only stored; base64 (RFC 4648).
#include "engine/report/encode.h"

#include <algorithm>

#include "engine/io/checksum.h"
#include "kernels/common/error.h"

namespace krait {
namespace {

uint32_t adler32(std::string_view bytes) {
  uint32_t a = 1, b = 0;
  for (const char c : bytes) {
    a = (a + static_cast<uint8_t>(c)) % 65521;
    b = (b + a) % 65521;
  }
  return b << 16 | a;
}

std::string big_endian(uint32_t v) {
  return {static_cast<char>(v >> 24), static_cast<char>(v >> 16), static_cast<char>(v >> 8),
          static_cast<char>(v)};
}

std::string chunk(const std::string& type, const std::string& data) {
  const std::string body = type + data;
  return big_endian(static_cast<uint32_t>(data.size())) + body + big_endian(crc32(body));
}

std::string stored(const std::string& data) {
  constexpr size_t most = 65535;  // bytes in a block
  std::string s = "\x78\x01";     // deflate, window of 32 KiB
  for (size_t at = 0; at < data.size(); at += most) {
    const size_t n = std::min(most, data.size() - at);
    s += at + n == data.size() ? '\1' : '\0';  // the last block is marked
    for (const size_t v : {n, ~n}) {
      s += static_cast<char>(v & 255);
      s += static_cast<char>(v >> 8 & 255);
    }
    s.append(data, at, n);
  }
  return s + big_endian(adler32(data));
}

}  // namespace

Bitmap shrunk(const Bitmap& p, int side) {
  const int k = (std::max(p.height, p.width) + side - 1) / side;
  if (k <= 1) return p;
  Bitmap small{std::max(p.height / k, 1), std::max(p.width / k, 1), p.channels, {}};
  const int kh = std::min(k, p.height), kw = std::min(k, p.width);  // of a very long picture
  for (int y = 0; y < small.height; ++y)
    for (int x = 0; x < small.width; ++x)
      for (int c = 0; c < p.channels; ++c) {
        int sum = 0;
        for (int i = y * k; i < y * k + kh; ++i)
          for (int j = x * k; j < x * k + kw; ++j)
            sum += p.bytes[(size_t(i) * p.width + j) * p.channels + c];
        small.bytes.push_back(static_cast<uint8_t>((sum + kh * kw / 2) / (kh * kw)));
      }
  return small;
}

std::string png(const Bitmap& p) {
  const size_t row = size_t(p.width) * p.channels;
  KRAIT_CHECK(p.height > 0 && p.width > 0 && (p.channels == 1 || p.channels == 3) &&
                  p.bytes.size() == row * p.height,
              "png: ", p.bytes.size(), " bytes for ", p.height, " x ", p.width, " x ", p.channels);
  std::string rows;
  for (int y = 0; y < p.height; ++y) {
    rows += '\0';  // no filter
    rows.append(reinterpret_cast<const char*>(p.bytes.data()) + y * row, row);
  }
  std::string header = big_endian(p.width) + big_endian(p.height);
  header += '\x08';                             // bits of a channel
  header += p.channels == 3 ? '\x02' : '\x00';  // colour or grey
  header += std::string(3, '\0');               // deflate, filters, not interlaced
  return "\x89PNG\r\n\x1a\n" + chunk("IHDR", header) + chunk("IDAT", stored(rows)) +
         chunk("IEND", "");
}

std::string base64(std::string_view bytes) {
  static const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string s;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t v = 0;
    for (size_t k = 0; k < 3; ++k)
      v = v << 8 | (i + k < bytes.size() ? static_cast<uint8_t>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k) s += i + k > bytes.size() ? '=' : digits[v >> (18 - 6 * k) & 63];
  }
  return s;
}

}  // namespace krait
