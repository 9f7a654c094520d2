// Reads files out of a .tar or .tar.gz.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace krait {

// The wanted files of the archive by their name without folders. Stops once all are read. What is
// missing from the archive is missing from the result; InputError if the archive is damaged.
std::map<std::string, std::vector<uint8_t>> read_tar(const std::string& path,
                                                     const std::vector<std::string>& wanted);

}  // namespace krait
