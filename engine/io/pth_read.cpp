// The two containers of torch.save around a pickle.
//
// Since PyTorch 1.6, a zip archive:   NAME/data.pkl   the pickle; a tensor names its storage
//                                     NAME/data/7     the numbers of storage '7'
//                                     NAME/byteorder  "little" or "big" (PyTorch 2.1 on)
// Before, one pickle after the other: a magic number, the version, sizes of C types, the object,
// the list of its storages' keys; then for each key the number of elements (int64) and the
// elements, little-endian whatever the machine was.
#include <map>

#include "engine/io/pickle.h"
#include "engine/io/zip.h"

namespace krait {
namespace {

using Kind = PthValue::Kind;
constexpr size_t sniffed = 9;  // bytes that tell the kind of a file
constexpr const char* magic_number = "0x1950a86a20f9469cfc6c";

bool starts_with(Span bytes, std::string_view magic) {
  return bytes.size() >= magic.size() &&
         std::equal(magic.begin(), magic.end(), bytes.begin(),
                    [](char a, std::byte b) { return static_cast<std::byte>(a) == b; });
}
bool starts_like_zip(Span bytes) {
  return starts_with(bytes, "PK\x03\x04");
}
// A safetensors file may start with the same two bytes, of its header's length; it has a brace in
// its ninth, and nothing but zeros in the third to eighth if the header is short.
bool starts_like_pickle(Span bytes) {
  return bytes.size() >= sniffed && bytes[0] == std::byte{0x80} && bytes[1] <= std::byte{5} &&
         bytes[2] != std::byte{0} && bytes[8] != std::byte{'{'};
}

std::string text_of(Span s) {
  return {reinterpret_cast<const char*>(s.data()), s.size()};
}

PthValue read_archive(const std::shared_ptr<const Bytes>& content, const std::string& path) {
  const auto files = read_zip(*content, path);
  std::string folder;
  bool found = false;
  for (const auto& [name, data] : files) {
    const size_t slash = name.find('/');
    const std::string rest = slash == std::string::npos ? name : name.substr(slash + 1);
    if (rest != "data.pkl") continue;
    KRAIT_INPUT(!found, path, ": has more than one data.pkl");
    found = true;
    folder = name.substr(0, name.size() - rest.size());
  }
  KRAIT_INPUT(found, path, ": is a zip archive, but not one of torch.save (no data.pkl in it)");
  KRAIT_INPUT(!files.count(folder + "constants.pkl"), path,
              ": is a TorchScript program; torch.save(model.state_dict(), ...) makes a checkpoint");
  bool big_endian = false;
  if (const auto order = files.find(folder + "byteorder"); order != files.end()) {
    const std::string text = text_of(order->second);
    KRAIT_INPUT(text == "little" || text == "big", path, ": has the unknown byte order '",
                printable(text), "'");
    big_endian = text == "big";
  }

  std::map<std::string, std::shared_ptr<const PthStorage>> storages;
  const PickleOptions options{
      path, big_endian, pth_budget(content->size()), [&](const StorageId& id) {
        const auto file = files.find(folder + "data/" + id.key);
        KRAIT_INPUT(file != files.end(), path, ": lacks the numbers of the storage ",
                    printable(id.key));
        KRAIT_INPUT(id.bytes <= file->second.size() && id.part_key.empty(), path,
                    ": is damaged: storage ", printable(id.key), " needs ", id.bytes,
                    " bytes and has ", file->second.size());
        auto& storage = storages[id.key];
        if (!storage)
          storage =
              std::make_shared<PthStorage>(PthStorage{file->second.size(), file->second, content});
        return storage;
      }};
  size_t at = 0;
  const Span pickle = files.at(folder + "data.pkl");
  PthValue value = read_pickle(pickle, at, options);
  KRAIT_INPUT(at == pickle.size(), path, ": is damaged: its pickle ends after ", at, " of ",
              pickle.size(), " bytes");
  return value;
}

class LegacyReader {
 public:
  LegacyReader(std::shared_ptr<const Bytes> content, const std::string& path)
      : content_(std::move(content)), path_(path) {}

  PthValue read() {
    const PickleOptions plain{path_};
    auto next = [&](const PickleOptions& options) { return read_pickle(*content_, at_, options); };
    const PthValue* magic = nullptr;
    const PthValue first = next(plain);
    if (first.is(Kind::object)) magic = first.find("value");
    KRAIT_INPUT(magic && magic->text == magic_number, path_,
                ": is a pickle, but not one of torch.save");
    const PthValue version = next(plain);
    KRAIT_INPUT(version.is(Kind::integer) && version.integer == 1001, path_,
                ": is of an unknown version of PyTorch's old format");
    next(plain);  // sizes of C types
    PickleOptions options{path_, false, pth_budget(content_->size()),
                          [this](const StorageId& id) { return storage(id); }};
    PthValue value = next(options);
    read_storages(next(plain));
    return value;
  }

 private:
  struct Root {
    std::shared_ptr<PthStorage> storage;
    uint64_t element_bytes;
    bool read = false;
  };
  struct Part {
    std::shared_ptr<PthStorage> storage, of;
    uint64_t from;
  };

  std::shared_ptr<const PthStorage> storage(const StorageId& id) {
    auto& root = roots_[id.key];
    if (!root.storage)
      root = {std::make_shared<PthStorage>(PthStorage{id.bytes, {}, content_}), id.element_bytes};
    KRAIT_INPUT(root.storage->bytes == id.bytes && root.element_bytes == id.element_bytes, path_,
                ": is damaged: storage ", printable(id.key), " has two sizes");
    if (id.part_key.empty()) return root.storage;
    KRAIT_INPUT(id.from <= id.bytes && id.part_bytes <= id.bytes - id.from, path_,
                ": is damaged: storage ", printable(id.part_key), " reaches beyond ",
                printable(id.key));
    auto& part = parts_[id.key + "/" + id.part_key];
    if (!part.storage)
      part = {std::make_shared<PthStorage>(PthStorage{id.part_bytes, {}, content_}), root.storage,
              id.from};
    KRAIT_INPUT(part.storage->bytes == id.part_bytes && part.from == id.from, path_,
                ": is damaged: storage ", printable(id.part_key), " has two sizes");
    return part.storage;
  }

  void read_storages(const PthValue& keys) {
    KRAIT_INPUT(keys.is(Kind::list), path_, ": is damaged: no list of storages");
    const Span all = *content_;
    for (const PthValue& k : keys.items) {
      const std::string key = k.is(Kind::integer) ? cat(k.integer) : k.text;
      const auto it = roots_.find(key);
      KRAIT_INPUT(it != roots_.end() && !it->second.read, path_, ": is damaged: storage ",
                  printable(key), it == roots_.end() ? " belongs to no tensor" : " is there twice");
      Root& root = it->second;
      KRAIT_INPUT(all.size() - at_ >= 8, path_, ": is cut off before storage ", printable(key));
      uint64_t count = 0;
      for (int i = 7; i >= 0; --i) count = count << 8 | static_cast<uint64_t>(all[at_ + i]);
      at_ += 8;
      const uint64_t bytes = root.storage->bytes;
      KRAIT_INPUT(count == bytes / root.element_bytes, path_, ": is damaged: storage ",
                  printable(key), " has ", count, " elements, its tensor says ",
                  bytes / root.element_bytes);
      KRAIT_INPUT(bytes <= all.size() - at_, path_, ": is cut off in storage ", printable(key));
      root.storage->data = all.subspan(at_, bytes);
      root.read = true;
      at_ += bytes;
    }
    for (const auto& [key, root] : roots_)
      KRAIT_INPUT(root.read, path_, ": lacks the numbers of the storage ", printable(key));
    for (const auto& [key, part] : parts_)
      part.storage->data = part.of->data.subspan(part.from, part.storage->bytes);
    KRAIT_INPUT(at_ == all.size(), path_, ": has ", all.size() - at_,
                " bytes after its last storage");
  }

  std::shared_ptr<const Bytes> content_;
  const std::string& path_;
  size_t at_ = 0;
  std::map<std::string, Root> roots_;
  std::map<std::string, Part> parts_;
};

}  // namespace

uint64_t pth_budget(uint64_t file_bytes) {
  return 16 * file_bytes + (16 << 20);
}

bool is_pth(const std::string& path) {
  uint64_t size = 0;
  const File file(open_to_read(path, size));
  Bytes start(std::min<uint64_t>(size, sniffed));
  KRAIT_INPUT(file.read_all(start.data(), start.size()), path, ": cannot be read");
  return starts_like_zip(start) || starts_like_pickle(start);
}

PthValue read_pth(std::shared_ptr<const Bytes> content, const std::string& path) {
  if (starts_like_zip(*content)) return read_archive(content, path);
  KRAIT_INPUT(starts_like_pickle(*content), path, ": is not a PyTorch checkpoint");
  return LegacyReader(std::move(content), path).read();
}
PthValue read_pth(const std::string& path) {
  return read_pth(std::make_shared<const Bytes>(read_file(path)), path);
}

}  // namespace krait
