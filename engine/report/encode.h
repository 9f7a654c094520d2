// Bytes that other programs read: PNG pictures, base64.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace krait {

struct Bitmap {
  int height = 0, width = 0, channels = 3;  // 1: grey; 3: red, green, blue
  std::vector<uint8_t> bytes;               // (height, width, channels)
};
// No side longer than `side`: k x k pixels become their mean, with the smallest k that will do.
Bitmap shrunk(const Bitmap& p, int side);
// A PNG file, not compressed: for pictures so small that it matters little.
std::string png(const Bitmap& p);
std::string base64(std::string_view bytes);

}  // namespace krait
