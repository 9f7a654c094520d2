// Cyclic redundancy checks, four bytes at a time: table k says what a byte does that k more follow.
#include "engine/io/checksum.h"

#include <array>

namespace krait {
namespace {

using Tables = std::array<std::array<uint32_t, 256>, 4>;

constexpr Tables tables_of(uint32_t polynomial) {
  Tables t{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int k = 0; k < 8; ++k) c = (c & 1) ? polynomial ^ (c >> 1) : c >> 1;
    t[0][i] = c;
  }
  for (uint32_t i = 0; i < 256; ++i)
    for (int k = 1; k < 4; ++k) t[k][i] = t[0][t[k - 1][i] & 255] ^ (t[k - 1][i] >> 8);
  return t;
}

uint32_t crc(const Tables& t, std::string_view bytes, uint32_t before) {
  auto at = [&](size_t i) { return uint32_t{static_cast<uint8_t>(bytes[i])}; };
  uint32_t c = ~before;
  size_t i = 0;
  for (; i + 4 <= bytes.size(); i += 4) {
    c ^= at(i) | at(i + 1) << 8 | at(i + 2) << 16 | at(i + 3) << 24;
    c = t[3][c & 255] ^ t[2][c >> 8 & 255] ^ t[1][c >> 16 & 255] ^ t[0][c >> 24];
  }
  for (; i < bytes.size(); ++i) c = t[0][(c ^ at(i)) & 255] ^ (c >> 8);
  return ~c;
}

}  // namespace

uint32_t crc32(std::string_view bytes, uint32_t before) {
  static constexpr Tables tables = tables_of(0xEDB88320u);
  return crc(tables, bytes, before);
}
uint32_t crc32c(std::string_view bytes, uint32_t before) {
  static constexpr Tables tables = tables_of(0x82F63B78u);
  return crc(tables, bytes, before);
}

}  // namespace krait
