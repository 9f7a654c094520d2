// A tar archive is a row of 512-byte blocks: a header (name, size in octal, checksum), then the
// file padded to whole blocks; zlib's gzread takes away the compression, if there is one.
#include "engine/data/tar.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "kernels/common/error.h"

#if KRAIT_ZLIB
#include <zlib.h>
#endif

namespace krait {

#if KRAIT_ZLIB
namespace {

constexpr size_t block = 512;

uint64_t octal(const char* field, size_t width) {
  uint64_t v = 0;
  for (size_t i = 0; i < width; ++i)
    if (field[i] >= '0' && field[i] <= '7') v = v * 8 + (field[i] - '0');
  return v;
}

// The sum of all bytes of a header, its own place counted as spaces.
uint64_t checksum(const char* header) {
  uint64_t sum = 0;
  for (size_t i = 0; i < block; ++i)
    sum += i >= 148 && i < 156 ? ' ' : static_cast<unsigned char>(header[i]);
  return sum;
}

}  // namespace

std::map<std::string, std::vector<uint8_t>> read_tar(const std::string& path,
                                                     const std::vector<std::string>& wanted) {
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  KRAIT_INPUT(file, "cannot read ", path);
  gzbuffer(file.get(), 1 << 20);
  auto read = [&](void* to, size_t bytes) {  // false: the archive ended before the first byte
    const int got = gzread(file.get(), to, static_cast<unsigned>(bytes));
    int status = Z_OK;
    const char* why = gzerror(file.get(), &status);
    KRAIT_INPUT(got >= 0 && status != Z_BUF_ERROR, path, " is damaged or cut off (", why, ")");
    KRAIT_INPUT(got == 0 || got == static_cast<int>(bytes), path, " is cut off");
    return got != 0;
  };
  std::map<std::string, std::vector<uint8_t>> found;
  char header[block];
  while (found.size() < wanted.size() && read(header, block)) {
    if (std::all_of(header, header + block, [](char c) { return c == 0; })) break;
    KRAIT_INPUT(checksum(header) == octal(header + 148, 8), path,
                " is not a tar archive, or is damaged");
    const std::string full(header, strnlen(header, 100));
    const std::string name = full.substr(full.rfind('/') + 1);  // npos + 1 is 0
    const uint64_t size = octal(header + 124, 12), padded = (size + block - 1) / block * block;
    KRAIT_INPUT(size < (uint64_t{1} << 30), name, " in ", path, " is too large: ", size, " bytes");
    const bool is_file = header[156] == '0' || header[156] == 0;
    if (is_file && std::find(wanted.begin(), wanted.end(), name) != wanted.end()) {
      std::vector<uint8_t> bytes(padded);
      KRAIT_INPUT(padded == 0 || read(bytes.data(), padded), path, " is cut off in ", name);
      bytes.resize(size);
      found[name] = std::move(bytes);
    } else {
      char skipped[block];
      for (uint64_t at = 0; at < padded; at += block)
        KRAIT_INPUT(read(skipped, block), path, " is cut off in ", name);
    }
  }
  return found;
}
#else
std::map<std::string, std::vector<uint8_t>> read_tar(const std::string& path,
                                                     const std::vector<std::string>&) {
  throw InputError(cat("this program was built without zlib and cannot read ", path,
                       ": unpack it (tar xzf) and give the folder"));
}
#endif

}  // namespace krait
