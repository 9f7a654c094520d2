// Bytes that other programs read: PNG pictures, base64, checksums.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace krait {

// Checksums of 32 bits, bits taken lowest first. `before`: what came before these bytes.
uint32_t crc32(std::string_view bytes, uint32_t before = 0);   // of PNG and zip
uint32_t crc32c(std::string_view bytes, uint32_t before = 0);  // Castagnoli's polynomial

struct Pixels {
  int height = 0, width = 0, channels = 3;  // 1: grey; 3: red, green, blue
  std::vector<uint8_t> bytes;               // (height, width, channels)
};
// No side longer than `side`: k x k pixels become their mean, with the smallest k that will do.
Pixels shrunk(const Pixels& p, int side);
// A PNG file, not compressed: for pictures so small that it matters little.
std::string png(const Pixels& p);
std::string base64(std::string_view bytes);

}  // namespace krait
