// Zip archives as torch.save makes them: entries stored as they are, never compressed, the data of
// each starting at a multiple of 64 bytes; zip64 where sizes need it. (PKWARE's APPNOTE.TXT 6.3;
// PyTorch: caffe2/serialize/inline_container.cc)
#pragma once

#include <map>
#include <span>

#include "engine/io/file.h"

namespace krait {

using Span = std::span<const std::byte>;

// name -> its bytes within `archive`. InputError starting with `path` for anything that is not
// so: cut off, compressed, encrypted, entries that overlap, a directory that contradicts the
// entries, a wrong checksum.
std::map<std::string, Span> read_zip(Span archive, const std::string& path);

struct ZipEntry {
  std::string name;
  Span data;
};
// Files written with `zip64` have the wide fields of zip64 even if they are small.
void write_zip(const std::string& path, const std::vector<ZipEntry>& entries, bool zip64 = false);

}  // namespace krait
