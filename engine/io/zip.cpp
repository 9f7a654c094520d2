// A zip archive: for every entry a local header, then its data; at the end a directory with a
// header for every entry, and a record that says where the directory is. Numbers are little-endian.
// A reader starts from the end. Zip64: a number that does not fit into its field is all ones there,
// and stands in an extra field of the header (or in a wider end record).
#include "engine/io/zip.h"

#include <algorithm>

#include "engine/io/checksum.h"
#include "kernels/common/error.h"

namespace krait {
namespace {

constexpr uint32_t local_magic = 0x04034b50, directory_magic = 0x02014b50, end_magic = 0x06054b50,
                   end64_magic = 0x06064b50, locator_magic = 0x07064b50;
constexpr size_t local_bytes = 30, directory_bytes = 46, end_bytes = 22, end64_bytes = 56,
                 locator_bytes = 20;
constexpr uint64_t narrow = 0xffffffff;  // the largest number of a narrow field: see zip64
constexpr uint16_t zip64_field = 1, padding_field = 0x4246;  // "FB", as torch.save pads
constexpr uint64_t alignment = 64;

uint32_t crc32(Span data) {
  return krait::crc32({reinterpret_cast<const char*>(data.data()), data.size()});
}

class Reader {
 public:
  Reader(Span archive, const std::string& path) : all_(archive), path_(path) {}

  std::map<std::string, Span> read() {
    find_directory();
    std::map<std::string, Span> found;
    for (uint64_t i = 0; i < entries_; ++i) {
      Entry e = directory_entry();
      const bool fresh = found.emplace(e.name, e.data).second;
      KRAIT_INPUT(fresh, path_, ": is damaged: it has ", printable(e.name), " twice");
      used_.push_back(e);
    }
    std::sort(used_.begin(), used_.end(),
              [](const Entry& a, const Entry& b) { return a.from < b.from; });
    for (size_t i = 0; i + 1 < used_.size(); ++i)
      KRAIT_INPUT(used_[i].to <= used_[i + 1].from, path_,
                  ": is damaged: ", printable(used_[i].name), " and ", printable(used_[i + 1].name),
                  " overlap");
    for (const Entry& e : used_)  // last: costs most. 0: torch was told not to compute it
      KRAIT_INPUT(e.crc == 0 || e.crc == crc32(e.data), path_, ": is damaged: ", printable(e.name),
                  " does not match its checksum");
    return found;
  }

 private:
  struct Entry {
    std::string name;
    Span data;
    uint64_t from, to;  // bytes of the file, its local header included
    uint32_t crc;
  };

  // `bytes` of the file from `at` are there, or it is damaged.
  void need(uint64_t at, uint64_t bytes, const char* what) const {
    KRAIT_INPUT(at <= all_.size() && bytes <= all_.size() - at, path_,
                ": is cut off or damaged: ", what, " lies outside of it");
  }
  uint64_t number(uint64_t at, int bytes) const {  // checked by the caller
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; --i) v = v << 8 | static_cast<uint64_t>(all_[at + i]);
    return v;
  }
  std::string text(uint64_t at, uint64_t bytes) const {
    return {reinterpret_cast<const char*>(all_.data()) + at, bytes};
  }

  void find_directory() {
    KRAIT_INPUT(all_.size() >= end_bytes, path_, ": is cut off: only ", all_.size(), " bytes");
    // A comment of up to 65535 bytes may follow the end record.
    const uint64_t last = all_.size() - end_bytes;
    uint64_t end = last;
    while (!(number(end, 4) == end_magic && number(end + 20, 2) == last - end)) {
      KRAIT_INPUT(end > 0 && last - end < 65535, path_,
                  ": is cut off: the directory at its end is missing");
      --end;
    }
    entries_ = number(end + 10, 2);
    uint64_t bytes = number(end + 12, 4);
    at_ = number(end + 16, 4);
    limit_ = end;
    if (end >= locator_bytes && number(end - locator_bytes, 4) == locator_magic) {
      const uint64_t end64 = number(end - locator_bytes + 8, 8);
      need(end64, end64_bytes, "its end record");
      KRAIT_INPUT(number(end64, 4) == end64_magic, path_, ": is damaged: no zip64 end record");
      entries_ = number(end64 + 32, 8);
      bytes = number(end64 + 40, 8);
      at_ = number(end64 + 48, 8);
      limit_ = end64;
    }
    KRAIT_INPUT(at_ <= limit_ && bytes <= limit_ - at_, path_,
                ": is cut off or damaged: its directory lies outside of it");
    directory_ = at_;
    limit_ = at_ + bytes;
    KRAIT_INPUT(entries_ <= bytes / directory_bytes, path_, ": is damaged: a directory of ", bytes,
                " bytes cannot have ", entries_, " entries");
  }

  // The directory's next entry, compared with what stands at its place.
  Entry directory_entry() {
    KRAIT_INPUT(limit_ - at_ >= directory_bytes && number(at_, 4) == directory_magic, path_,
                ": is damaged: its directory has no proper entries");
    const uint64_t h = at_, name_bytes = number(h + 28, 2), extra_bytes = number(h + 30, 2);
    const uint64_t size = directory_bytes + name_bytes + extra_bytes + number(h + 32, 2);
    KRAIT_INPUT(size <= limit_ - at_, path_, ": is damaged: its directory ends within an entry");
    at_ += size;
    Entry e{text(h + directory_bytes, name_bytes), {}, 0, 0, uint32_t(number(h + 16, 4))};
    const std::string where = cat(path_, ": ", printable(e.name));
    uint64_t packed = number(h + 20, 4), bytes = number(h + 24, 4);
    e.from = number(h + 42, 4);
    widen(h + directory_bytes + name_bytes, extra_bytes, {&bytes, &packed, &e.from}, where);
    KRAIT_INPUT(!(number(h + 8, 2) & 1), where, " is encrypted");
    KRAIT_INPUT(number(h + 10, 2) == 0 && packed == bytes, where,
                " is compressed; torch.save stores entries as they are");

    need(e.from, local_bytes, "an entry");
    const uint64_t local_name = number(e.from + 26, 2);
    uint64_t data = e.from + local_bytes;
    KRAIT_INPUT(number(e.from, 4) == local_magic && local_name == name_bytes, where,
                " is not where the directory says");
    need(data, local_name + number(e.from + 28, 2), "an entry");
    KRAIT_INPUT(text(data, local_name) == e.name, where, " has another name in its own header");
    data += local_name + number(e.from + 28, 2);
    KRAIT_INPUT(data <= directory_ && bytes <= directory_ - data, where,
                " is larger than the file has room for: ", bytes, " bytes");
    e.data = all_.subspan(data, bytes);
    e.to = data + bytes;
    return e;
  }

  // Numbers that did not fit their fields, in this order, from the extra field of zip64.
  void widen(uint64_t at, uint64_t bytes, std::initializer_list<uint64_t*> numbers,
             const std::string& where) const {
    const uint64_t end = at + bytes;
    for (uint64_t size = 0; end - at >= 4; at += size) {
      size = 4 + number(at + 2, 2);
      KRAIT_INPUT(size <= end - at, where, " has a damaged header");
      if (number(at, 2) != zip64_field) continue;
      uint64_t from = at + 4;
      for (uint64_t* n : numbers) {
        if (*n != narrow) continue;
        KRAIT_INPUT(from + 8 <= at + size, where, " has a damaged header");
        *n = number(from, 8);
        from += 8;
      }
      return;
    }
  }

  Span all_;
  const std::string& path_;
  uint64_t entries_ = 0;
  uint64_t directory_ = 0, at_ = 0, limit_ = 0;  // its start, what is read next, its end
  std::vector<Entry> used_;
};

struct Writer {
  std::string bytes;
  Writer& put(uint64_t v, int n) {
    for (int i = 0; i < n; ++i) bytes += static_cast<char>(v >> (8 * i));
    return *this;
  }
};

// The part that local header and directory entry have in common.
void common_fields(Writer& w, const ZipEntry& e, uint32_t crc, bool wide, size_t extra) {
  const uint64_t size = wide ? narrow : e.data.size();
  constexpr int date = 1 << 5 | 1;                 // 1980-01-01, so that equal content gives
  w.put(wide ? 45 : 20, 2).put(1 << 11, 2);        // equal files; names are UTF-8
  w.put(0, 2).put(0, 2).put(date, 2).put(crc, 4);  // stored
  w.put(size, 4).put(size, 4).put(e.name.size(), 2).put(extra, 2);
}

}  // namespace

std::map<std::string, Span> read_zip(Span archive, const std::string& path) {
  return Reader(archive, path).read();
}

void write_zip(const std::string& path, const std::vector<ZipEntry>& entries, bool zip64) {
  write_file(path, [&](const File& file) {
    Writer directory;
    uint64_t at = 0;
    bool wide_end = zip64 || entries.size() >= 0xffff;
    for (const ZipEntry& e : entries) {
      const uint32_t crc = crc32(e.data);
      const bool wide = zip64 || e.data.size() >= narrow || at >= narrow;
      wide_end |= wide;
      const uint64_t wide_bytes = wide ? 4 + 16 : 0;
      const uint64_t head = at + local_bytes + e.name.size() + wide_bytes + 4;
      const uint64_t padding = (alignment - head % alignment) % alignment;

      Writer local;
      local.put(local_magic, 4);
      common_fields(local, e, crc, wide, wide_bytes + 4 + padding);
      local.bytes += e.name;
      if (wide) local.put(zip64_field, 2).put(16, 2).put(e.data.size(), 8).put(e.data.size(), 8);
      local.put(padding_field, 2).put(padding, 2);
      local.bytes.append(padding, 'Z');

      directory.put(directory_magic, 4).put(45, 2);
      common_fields(directory, e, crc, wide, wide ? 4 + 24 : 0);
      directory.put(0, 2).put(0, 2).put(0, 2).put(0, 4).put(wide ? narrow : at, 4);
      directory.bytes += e.name;
      if (wide)
        directory.put(zip64_field, 2)
            .put(24, 2)
            .put(e.data.size(), 8)
            .put(e.data.size(), 8)
            .put(at, 8);
      if (!file.write_all(local.bytes.data(), local.bytes.size()) ||
          !file.write_all(e.data.data(), e.data.size()))
        return false;
      at += local.bytes.size() + e.data.size();
    }
    const uint64_t size = directory.bytes.size(), n = entries.size();
    wide_end |= at >= narrow;
    Writer& end = directory;
    if (wide_end) {
      end.put(end64_magic, 4).put(end64_bytes - 12, 8).put(45, 2).put(45, 2).put(0, 4).put(0, 4);
      end.put(n, 8).put(n, 8).put(size, 8).put(at, 8);
      end.put(locator_magic, 4).put(0, 4).put(at + size, 8).put(1, 4);
    }
    const uint64_t count = wide_end ? 0xffff : n;
    end.put(end_magic, 4).put(0, 4).put(count, 2).put(count, 2);
    end.put(wide_end ? narrow : size, 4).put(wide_end ? narrow : at, 4).put(0, 2);
    return file.write_all(end.bytes.data(), end.bytes.size());
  });
}

}  // namespace krait
