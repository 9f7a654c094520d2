// Writes a checkpoint as torch.save does: a zip archive with a pickle of protocol 2 in it. Every
// tensor is packed; a tensor that is there twice is written once.
#include <bit>
#include <deque>
#include <map>
#include <tuple>

#include "engine/io/pth.h"
#include "engine/io/zip.h"

namespace krait {
namespace {

using Kind = PthValue::Kind;

std::string storage_class(const PthTensor& t) {
  static const std::map<std::string, const char*> names = {
      {"F64", "Double"}, {"F32", "Float"}, {"F16", "Half"}, {"BF16", "BFloat16"}, {"I64", "Long"},
      {"I32", "Int"},    {"I16", "Short"}, {"I8", "Char"},  {"U8", "Byte"},       {"BOOL", "Bool"}};
  const auto it = names.find(t.dtype);
  KRAIT_INPUT(it != names.end(), "tensors of type ", t.dtype, " cannot be written as .pth");
  return it->second + std::string("Storage");
}

class Pickler {
 public:
  std::string bytes = "\x80\x02";  // PROTO 2
  std::vector<Span> storages;      // by number

  void value(const PthValue& v) {
    switch (v.kind) {
      case Kind::none:
        put("N");
        return;
      case Kind::boolean:
        put(v.integer ? "\x88" : "\x89");
        return;
      case Kind::integer:
        integer(v.integer);
        return;
      case Kind::real:
        put("G"), number(std::bit_cast<uint64_t>(v.real), 8, true);
        return;
      case Kind::text:
        text(v.text);
        return;
      case Kind::tensor:
        tensor(*v.tensor);
        return;
      case Kind::list:
        put("]("), values(v), put("e");
        return;
      case Kind::tuple:
        put("("), values(v), put("t");
        return;
      case Kind::dict:
        put("}("), values(v), put("u");
        return;
      default:
        throw InputError("only numbers, texts, tensors, lists and dicts can be written as .pth");
    }
  }
  void end() { put("."); }

 private:
  void put(std::string_view s) { bytes += s; }
  void number(uint64_t v, int n, bool big_endian = false) {
    for (int i = 0; i < n; ++i) bytes += static_cast<char>(v >> 8 * (big_endian ? n - 1 - i : i));
  }
  void integer(int64_t v) {
    if (v == static_cast<int32_t>(v))
      put("J"), number(static_cast<uint64_t>(v), 4);  // BININT
    else
      put("\x8a\x08"), number(static_cast<uint64_t>(v), 8);  // LONG1
  }
  void text(const std::string& s) { put("X"), number(s.size(), 4), put(s); }
  void name(const std::string& module, const std::string& name) {
    put("c" + module + "\n" + name + "\n");
  }
  void values(const PthValue& v) {
    for (const PthValue& item : v.items) value(item);
  }
  void integers(const std::vector<int64_t>& v) {
    put("(");
    for (const int64_t i : v) integer(i);
    put("t");
  }

  // torch._utils._rebuild_tensor_v2(storage, 0, shape, stride, False, OrderedDict())
  void tensor(const PthTensor& t) {
    name("torch._utils", "_rebuild_tensor_v2");
    put("((");
    text("storage");
    name("torch", storage_class(t));
    text(cat(storage(t)));
    text("cpu");
    integer(t.count());
    put("tQ");  // TUPLE, BINPERSID
    integer(0);
    integers(t.shape);
    std::vector<int64_t> stride(t.shape.size(), 1);
    for (size_t i = stride.size(); i-- > 1;)
      stride[i - 1] = stride[i] * std::max<int64_t>(t.shape[i], 1);
    integers(stride);
    put("\x89");
    name("collections", "OrderedDict");
    put(")RtR");  // EMPTY_TUPLE REDUCE TUPLE REDUCE
  }

  size_t storage(const PthTensor& t) {
    const auto [it, fresh] = seen_.try_emplace(
        std::tuple(t.storage.get(), t.offset, t.shape, t.stride, t.dtype), storages.size());
    if (fresh) {
      copies_.push_back(t.stored().bytes);
      storages.emplace_back(copies_.back());
    }
    return it->second;
  }
  std::map<std::tuple<const PthStorage*, int64_t, std::vector<int64_t>, std::vector<int64_t>,
                      std::string>,
           size_t>
      seen_;
  std::deque<Bytes> copies_;
};

}  // namespace

void write_pth(const std::string& path, const PthValue& value, bool zip64) {
  Pickler pickler;
  pickler.value(value);
  pickler.end();
  auto bytes_of = [](std::string_view s) { return std::as_bytes(std::span(s)); };
  std::vector<ZipEntry> files = {{"archive/data.pkl", bytes_of(pickler.bytes)},
                                 {"archive/byteorder", bytes_of("little")}};
  for (size_t i = 0; i < pickler.storages.size(); ++i)
    files.push_back({cat("archive/data/", i), pickler.storages[i]});
  files.push_back({"archive/version", bytes_of("3\n")});
  write_zip(path, files, zip64);
}

}  // namespace krait
