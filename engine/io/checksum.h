// Checksums of 32 bits that file formats ask for; bits are taken lowest first.
#pragma once

#include <cstdint>
#include <string_view>

namespace krait {

// `before`: the checksum of what came before these bytes.
uint32_t crc32(std::string_view bytes, uint32_t before = 0);   // of zip and PNG
uint32_t crc32c(std::string_view bytes, uint32_t before = 0);  // Castagnoli's polynomial

}  // namespace krait
