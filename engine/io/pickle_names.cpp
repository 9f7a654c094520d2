// The names a pickle may use: what calling each of them in Python would return. Everything else is
// refused. (PyTorch: torch/_utils.py, torch/serialization.py, torch/_weights_only_unpickler.py;
// NumPy: the __reduce__ methods of scalar, dtype and ndarray)
#include <algorithm>
#include <bit>
#include <cstring>

#include "engine/io/pickle_machine.h"

namespace krait::pickle {
namespace {

using Constructor = Ref (*)(Machine& m, const std::string& name, const Refs& arguments);

constexpr size_t most_dimensions = 64;

int64_t element_bytes(const std::string& dtype) {
  const int64_t n = StoredTensor::element_bytes(dtype);
  KRAIT_CHECK(n > 0, "no type ", dtype);
  return n;
}

// dtypes by the names of torch; empty: known, but nothing here can compute with it.
const std::unordered_map<std::string, std::string>& dtypes() {
  static const std::unordered_map<std::string, std::string> all = {
      {"torch.float64", "F64"},
      {"torch.float32", "F32"},
      {"torch.float16", "F16"},
      {"torch.bfloat16", "BF16"},
      {"torch.int64", "I64"},
      {"torch.int32", "I32"},
      {"torch.int16", "I16"},
      {"torch.int8", "I8"},
      {"torch.uint8", "U8"},
      {"torch.bool", "BOOL"},
      {"torch.uint16", "U16"},
      {"torch.uint32", "U32"},
      {"torch.uint64", "U64"},
      {"torch.float8_e4m3fn", "F8_E4M3"},
      {"torch.float8_e5m2", "F8_E5M2"},
      {"torch.complex32", ""},
      {"torch.complex64", ""},
      {"torch.complex128", ""},
      {"torch.half", "F16"},
      {"torch.float", "F32"},
      {"torch.double", "F64"},
      {"torch.long", "I64"},
      {"torch.int", "I32"}};
  return all;
}
const std::unordered_map<std::string, std::string>& storages() {
  static const std::unordered_map<std::string, std::string> all = {
      {"torch.DoubleStorage", "F64"},
      {"torch.FloatStorage", "F32"},
      {"torch.HalfStorage", "F16"},
      {"torch.BFloat16Storage", "BF16"},
      {"torch.LongStorage", "I64"},
      {"torch.IntStorage", "I32"},
      {"torch.ShortStorage", "I16"},
      {"torch.CharStorage", "I8"},
      {"torch.ByteStorage", "U8"},
      {"torch.BoolStorage", "BOOL"},
      {"torch.UntypedStorage", "U8"},
      {"torch._UntypedStorage", "U8"},
      {"torch.storage.UntypedStorage", "U8"},
      {"torch.storage._UntypedStorage", "U8"},
      {"torch.ComplexFloatStorage", ""},
      {"torch.ComplexDoubleStorage", ""}};
  return all;
}

const std::string& usable(Machine& m, const std::string& name, const std::string& dtype) {
  if (dtype.empty()) m.refuse(cat("has a tensor of complex numbers (", name, "), of no use here"));
  return dtype;
}

[[noreturn]] void wrong(Machine& m, const std::string& name) {
  m.refuse(cat("is damaged: ", name, " is called with other arguments than torch.save writes"));
}
void want(Machine& m, const std::string& name, const Refs& a, size_t low, size_t high) {
  if (a.size() < low || a.size() > high) wrong(m, name);
}
Ref the(Machine& m, const std::string& name, Ref r, Kind kind) {
  if (m[r].kind != kind || m[r].name) wrong(m, name);
  return r;
}

// A tuple of numbers that are not negative: a shape, or strides.
std::vector<int64_t> dimensions(Machine& m, const std::string& name, Ref r) {
  the(m, name, r, Kind::tuple);
  std::vector<int64_t> d;
  if (m[r].items.size() > most_dimensions) wrong(m, name);
  for (const Ref item : m[r].items) {
    d.push_back(m[the(m, name, item, Kind::integer)].integer);
    if (d.back() < 0) m.refuse("has a tensor with a negative size or stride");
  }
  return d;
}

// Checks that all of a tensor lies in its storage, and that it is not far larger than the file.
Ref add_tensor(Machine& m, PthTensor t) {
  int64_t count = 1, last = t.offset, bytes = 0, end = 0;
  bool bad = t.shape.size() != t.stride.size() || t.offset < 0;
  for (size_t i = 0; i < t.shape.size() && !bad; ++i) {
    int64_t step = 0;
    bad = __builtin_mul_overflow(count, t.shape[i], &count) ||
          __builtin_mul_overflow(std::max<int64_t>(t.shape[i] - 1, 0), t.stride[i], &step) ||
          __builtin_add_overflow(last, step, &last);
  }
  const int64_t size = element_bytes(t.dtype);
  bad = bad || __builtin_mul_overflow(count, size, &bytes);
  if (bad) m.refuse("has a tensor of an impossible shape");
  const bool inside = !__builtin_add_overflow(last, 1, &end) &&
                      !__builtin_mul_overflow(end, size, &end) &&
                      static_cast<uint64_t>(end) <= t.storage->bytes;
  if (count > 0 && !inside) m.refuse("has a tensor that reaches beyond its storage");
  if (static_cast<uint64_t>(bytes) > m.options().tensor_bytes)
    m.refuse(cat("has a tensor of ", bytes, " bytes, far larger than the file"));
  Node n;
  n.kind = Kind::tensor;
  n.tensor = std::make_shared<PthTensor>(std::move(t));
  return m.add(std::move(n));
}

// (storage, offset, shape, stride, requires_grad, hooks, ...); v3 has the dtype as seventh.
Ref rebuild_tensor(Machine& m, const std::string& name, const Refs& a) {
  const bool v3 = name.ends_with("_v3");
  want(m, name, a, v3 ? 7 : 4, v3 ? 8 : 7);
  const Node& storage = m[a[0]];
  if (!storage.storage) wrong(m, name);
  PthTensor t;
  const std::string& type = v3 ? m[a[6]].text : storage.text;
  const auto& known = v3 ? dtypes() : storages();
  if (v3 && !(m[a[6]].name && known.count(type))) wrong(m, name);
  t.dtype = usable(m, type, known.at(type));
  t.storage = storage.storage;
  t.big_endian = m.options().big_endian;
  t.offset = m[the(m, name, a[1], Kind::integer)].integer;
  t.shape = dimensions(m, name, a[2]);
  t.stride = dimensions(m, name, a[3]);
  return add_tensor(m, std::move(t));
}

Ref rebuild_parameter(Machine& m, const std::string& name, const Refs& a) {
  want(m, name, a, 1, 4);  // (data, requires_grad, hooks[, attributes])
  return the(m, name, a[0], Kind::tensor);
}

// (function, class, its arguments, attributes): a tensor or parameter with attributes.
Ref rebuild_from_type(Machine& m, const std::string& name, const Refs& a) {
  want(m, name, a, 4, 4);
  const std::string function = m[a[0]].text, type = m[a[1]].text;
  if (!m[a[0]].name || !m[a[1]].name || !function.starts_with("torch._utils._rebuild_") ||
      (type != "torch.Tensor" && type != "torch.nn.parameter.Parameter"))
    wrong(m, name);
  if (m[the(m, name, a[2], Kind::tuple)].items.size() > 8) wrong(m, name);
  return construct(m, a[0], Refs(m[a[2]].items));
}

// A copy of a collection as another kind. None: an empty one.
Ref collection(Machine& m, const std::string& name, const Refs& a, Kind kind) {
  want(m, name, a, 0, 1);
  if (a.empty()) return m.add(kind);
  const Kind k = m[a[0]].kind;
  if (k != Kind::list && k != Kind::tuple && k != Kind::set) wrong(m, name);
  m.spend(m[a[0]].items.size() * sizeof(Ref));
  return m.add(kind, {}, Refs(m[a[0]].items));
}
Ref make_list(Machine& m, const std::string& n, const Refs& a) {
  return collection(m, n, a, Kind::list);
}
Ref make_tuple(Machine& m, const std::string& n, const Refs& a) {
  return collection(m, n, a, Kind::tuple);
}
Ref make_set(Machine& m, const std::string& n, const Refs& a) {
  return collection(m, n, a, Kind::set);
}

// dict(), OrderedDict(), Counter({...}), or from a list of pairs.
Ref make_dict(Machine& m, const std::string& name, const Refs& a) {
  want(m, name, a, 0, 1);
  if (a.empty()) return m.add(Kind::dict);
  if (m[a[0]].kind == Kind::dict) {
    m.spend(m[a[0]].items.size() * sizeof(Ref));
    return m.add(Kind::dict, {}, Refs(m[a[0]].items));
  }
  the(m, name, a[0], Kind::list);
  Refs items;
  for (const Ref pair : m[a[0]].items) {
    const Node& p = m[pair];
    if ((p.kind != Kind::list && p.kind != Kind::tuple) || p.items.size() != 2) wrong(m, name);
    items.insert(items.end(), p.items.begin(), p.items.end());
  }
  return m.add(Kind::dict, {}, std::move(items));
}
Ref make_default_dict(Machine& m, const std::string& name, const Refs& a) {
  want(m, name, a, 0, 1);  // what it gives for absent keys does not matter here
  return m.add(Kind::dict);
}

// Objects that are names with values: an empty one, which BUILD fills.
Ref make_namespace(Machine& m, const std::string& name, const Refs& a) {
  want(m, name, a, 0, 0);
  return m.add(Kind::object, name);
}
Ref reconstruct(Machine& m, const std::string& name, const Refs& a) {  // (class, object, None)
  want(m, name, a, 3, 3);
  if (!m[a[0]].name) wrong(m, name);
  return construct(m, a[0], {});
}

Ref make_complex(Machine& m, const std::string& name, const Refs& a) {
  want(m, name, a, 2, 2);
  the(m, name, a[0], Kind::real);
  the(m, name, a[1], Kind::real);
  const Ref real = m.add(Kind::text, "real"), imag = m.add(Kind::text, "imag");
  return m.add(Kind::object, "complex", {real, a[0], imag, a[1]});
}

// encode(text, "latin1"): how protocol 2 writes bytes.
std::string latin1(Machine& m, const std::string& name, const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x80) {
      out += text[i];
      continue;
    }
    // U+0080 to U+00FF: 110000xx 10xxxxxx
    const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0;
    if ((c & 0xfc) != 0xc0 || (next & 0xc0) != 0x80) wrong(m, name);
    out += static_cast<char>((c & 3) << 6 | (next & 0x3f));
    ++i;
  }
  return out;
}
Ref make_bytes(Machine& m, const std::string& name, const Refs& a) {
  want(m, name, a, 0, 2);
  if (a.empty()) return m.add(Kind::bytes);
  if (m[a[0]].kind == Kind::bytes) return a[0];
  const std::string text = m[the(m, name, a[0], Kind::text)].text;
  const std::string code = a.size() == 2 ? m[the(m, name, a[1], Kind::text)].text : "latin1";
  if (code != "latin1" && code != "latin-1") wrong(m, name);
  return m.add(Kind::bytes, latin1(m, name, text));
}

Ref make_path(Machine& m, const std::string& name, const Refs& a) {
  std::string path;
  for (const Ref part : a) {
    const std::string& text = m[the(m, name, part, Kind::text)].text;
    path += (path.empty() || path.ends_with('/') ? "" : "/") + text;
  }
  return m.add(Kind::text, path);
}
Ref make_text(Machine& m, const std::string& name, const Refs& a) {  // torch.device("cuda", 0)
  want(m, name, a, 1, 2);
  std::string text = m[the(m, name, a[0], Kind::text)].text;
  if (a.size() == 2) text += cat(":", m[the(m, name, a[1], Kind::integer)].integer);
  return m.add(Kind::text, text);
}

// NumPy. dtype("f8", False, True) is an object with items (code, byte order); BUILD may change the
// latter.
const char* const numpy_dtype = "numpy.dtype";
const char* const numpy_array = "numpy.ndarray";

Ref make_numpy_dtype(Machine& m, const std::string& name, const Refs& a) {
  want(m, name, a, 1, 3);
  const std::string code = m[the(m, name, a[0], Kind::text)].text;
  const Ref key = m.add(Kind::text, code), order = m.add(Kind::text, "<");
  return m.add(Kind::object, numpy_dtype, {key, order});
}

struct NumpyType {
  std::string dtype;
  bool big_endian;
};
NumpyType numpy_type(Machine& m, const std::string& name, Ref r) {
  static const std::unordered_map<std::string, const char*> codes = {
      {"f8", "F64"}, {"f4", "F32"}, {"f2", "F16"}, {"i8", "I64"}, {"i4", "I32"}, {"i2", "I16"},
      {"i1", "I8"},  {"u8", "U64"}, {"u4", "U32"}, {"u2", "U16"}, {"u1", "U8"},  {"b1", "BOOL"}};
  if (m[the(m, name, r, Kind::object)].text != numpy_dtype) wrong(m, name);
  const std::string& code = m[m[r].items.at(0)].text;
  const auto it = codes.find(code);
  if (it == codes.end())
    m.refuse(cat("has a NumPy value of the type ", printable(code), ", of no use here"));
  return {it->second, m[m[r].items.at(1)].text == ">"};
}

// A tensor over `bytes` of the pickle.
PthTensor numpy_tensor(Machine& m, const NumpyType& type, const std::string& bytes) {
  m.spend(bytes.size());
  auto memory = std::make_shared<const std::string>(bytes);
  auto storage = std::make_shared<PthStorage>();
  storage->bytes = bytes.size();
  storage->data = std::as_bytes(std::span(*memory));
  storage->owner = memory;
  PthTensor t;
  t.dtype = type.dtype;
  t.big_endian = type.big_endian;
  t.storage = storage;
  return t;
}

Ref make_numpy_scalar(Machine& m, const std::string& name, const Refs& a) {
  want(m, name, a, 2, 2);
  const NumpyType type = numpy_type(m, name, a[0]);
  const PthTensor t = numpy_tensor(m, type, m[the(m, name, a[1], Kind::bytes)].text);
  if (t.storage->bytes != static_cast<uint64_t>(element_bytes(t.dtype))) wrong(m, name);
  const StoredTensor stored = t.stored();
  if (type.dtype[0] == 'F') return m.add_real(stored.values()[0]);
  if (!stored.numeric()) {  // u2, u4, u8
    uint64_t v = 0;
    for (size_t i = stored.bytes.size(); i-- > 0;)
      v = v << 8 | static_cast<uint64_t>(stored.bytes[i]);
    return v >> 63 ? m.add_real(static_cast<double>(v)) : m.add_integer(static_cast<int64_t>(v));
  }
  int64_t v = 0;
  if (type.dtype == "I64")
    std::memcpy(&v, stored.bytes.data(), sizeof v);
  else
    v = static_cast<int64_t>(stored.values()[0]);
  return m.add_integer(v, type.dtype == "BOOL" ? Kind::boolean : Kind::integer);
}

Ref make_numpy_array(Machine& m, const std::string& name, const Refs& a) {
  want(m, name, a, 3, 3);  // (ndarray, (0,), b"b"): BUILD brings the rest
  if (!m[a[0]].name || m[a[0]].text != numpy_array) wrong(m, name);
  return m.add(Kind::object, numpy_array);
}

Ref numpy_values(Machine& m, Ref bytes, Ref dtype, Ref shape, bool fortran) {
  const std::string name = numpy_array;
  PthTensor t =
      numpy_tensor(m, numpy_type(m, name, dtype), m[the(m, name, bytes, Kind::bytes)].text);
  t.shape = dimensions(m, name, shape);
  t.stride.assign(t.shape.size(), 0);
  int64_t step = 1;
  for (size_t i = 0; i < t.shape.size(); ++i) {
    const size_t d = fortran ? i : t.shape.size() - 1 - i;
    t.stride[d] = step;
    if (__builtin_mul_overflow(step, std::max<int64_t>(t.shape[d], 1), &step)) wrong(m, name);
  }
  return add_tensor(m, std::move(t));
}
// _frombuffer(bytes, dtype, shape, "C" or "F"): an array in protocol 5.
Ref make_numpy_values(Machine& m, const std::string& name, const Refs& a) {
  want(m, name, a, 4, 4);
  return numpy_values(m, a[0], a[1], a[2], m[the(m, name, a[3], Kind::text)].text == "F");
}
// The state of an array before: (version, shape, dtype, is in Fortran order, bytes)
void build_numpy_array(Machine& m, Ref array, Ref state) {
  const Refs s = m[the(m, numpy_array, state, Kind::tuple)].items;
  if (s.size() != 5) wrong(m, numpy_array);
  const Ref made = numpy_values(m, s[4], s[2], s[1], m[s[3]].integer != 0);
  m[array] = m[made];
}

// No constructor: a name that is only mentioned.
const std::unordered_map<std::string, Constructor>& names() {
  static const auto* all = [] {
    auto* t = new std::unordered_map<std::string, Constructor>{
        {"collections.OrderedDict", make_dict},
        {"collections.Counter", make_dict},
        {"collections.defaultdict", make_default_dict},
        {"builtins.dict", make_dict},
        {"builtins.list", make_list},
        {"builtins.tuple", make_tuple},
        {"builtins.set", make_set},
        {"builtins.frozenset", make_set},
        {"builtins.complex", make_complex},
        {"builtins.bytes", make_bytes},
        {"builtins.bytearray", make_bytes},
        {"builtins.object", nullptr},
        {"builtins.int", nullptr},
        {"builtins.float", nullptr},
        {"builtins.bool", nullptr},
        {"builtins.str", nullptr},
        {"_codecs.encode", make_bytes},
        {"argparse.Namespace", make_namespace},
        {"types.SimpleNamespace", make_namespace},
        {"copyreg._reconstructor", reconstruct},
        {"pathlib.Path", make_path},
        {"pathlib.PosixPath", make_path},
        {"pathlib.PurePosixPath", make_path},
        {"pathlib.WindowsPath", make_path},
        {"torch._utils._rebuild_tensor", rebuild_tensor},
        {"torch._utils._rebuild_tensor_v2", rebuild_tensor},
        {"torch._utils._rebuild_tensor_v3", rebuild_tensor},
        {"torch._utils._rebuild_parameter", rebuild_parameter},
        {"torch._utils._rebuild_parameter_with_state", rebuild_parameter},
        {"torch._tensor._rebuild_from_type_v2", rebuild_from_type},
        {"torch.Tensor", nullptr},
        {"torch.nn.parameter.Parameter", nullptr},
        {"torch.Size", make_tuple},
        {"torch.device", make_text},
        {"torch.serialization._get_layout", make_text},
        {"numpy.dtype", make_numpy_dtype},
        {"numpy.ndarray", nullptr},
        {"numpy.core.multiarray.scalar", make_numpy_scalar},
        {"numpy.core.multiarray._reconstruct", make_numpy_array},
        {"numpy.core.numeric._frombuffer", make_numpy_values}};
    for (const auto& [name, dtype] : dtypes()) t->emplace(name, nullptr);
    for (const auto& [name, dtype] : storages()) t->emplace(name, nullptr);
    return t;
  }();
  return *all;
}

}  // namespace

Ref find_name(Machine& m, const std::string& module, const std::string& name) {
  std::string full = module + "." + name;
  for (const auto& [old, now] : {std::pair<const char*, const char*>{"__builtin__.", "builtins."},
                                 {"copy_reg.", "copyreg."},
                                 {"numpy._core.", "numpy.core."},
                                 {"torch.cuda.", "torch."}})
    if (full.starts_with(old)) full = now + full.substr(std::strlen(old));
  if (!names().count(full))
    m.refuse(cat("refers to ", printable(full),
                 ", which is none of the names known here; nothing in it was run"));
  const Ref r = m.add(Kind::text, full);
  m[r].name = true;
  return r;
}

Ref construct(Machine& m, Ref name, const Refs& arguments) {
  const std::string text = m[name].text;
  const Constructor make = names().at(text);
  if (!make) m.refuse(cat("calls ", text, ", which checkpoints only mention"));
  return make(m, text, arguments);
}

void build(Machine& m, Ref object, Ref state) {
  const Kind kind = m[object].kind;
  const std::string type = m[object].text;
  // An OrderedDict's attributes: the version numbers of a state dict's modules.
  if (kind == Kind::dict && m[state].kind == Kind::dict) return;
  if (kind == Kind::object && type == numpy_array) return build_numpy_array(m, object, state);
  if (kind == Kind::object && type == numpy_dtype) {
    const Refs s = m[the(m, type, state, Kind::tuple)].items;  // (3, "<", ...)
    if (s.size() < 2) wrong(m, type);
    const Ref order = the(m, type, s[1], Kind::text);
    m[object].items[1] = order;
    return;
  }
  const bool fills = kind == Kind::object && type.ends_with("Namespace") && m[object].items.empty();
  if (!fills || m[state].kind != Kind::dict)
    m.refuse("is damaged: its pickle gives attributes to something that has none");
  m.spend(m[state].items.size() * sizeof(Ref));
  Refs items = m[state].items;
  m[object].items = std::move(items);
}

// ('storage', class, key, place, elements[, part of another: (key, from, elements)])
Ref persistent(Machine& m, Ref id) {
  const std::string name = "a storage";
  const Refs a = m[the(m, name, id, Kind::tuple)].items;
  want(m, name, a, 5, 6);
  const auto type = storages().find(m[a[1]].text);
  if (m[a[0]].text != "storage" || !m[a[1]].name || type == storages().end()) wrong(m, name);
  const int64_t size = element_bytes(usable(m, type->first, type->second));
  auto bytes = [&](Ref elements) {
    int64_t n = m[the(m, name, elements, Kind::integer)].integer;
    if (n < 0 || __builtin_mul_overflow(n, size, &n)) m.refuse("has a storage of no possible size");
    return static_cast<uint64_t>(n);
  };
  auto key = [&](Ref r) {  // a text, or a number in some old files
    return m[r].kind == Kind::integer ? cat(m[r].integer) : m[the(m, name, r, Kind::text)].text;
  };
  StorageId want_id{key(a[2]), bytes(a[4]), static_cast<uint64_t>(size)};
  if (a.size() == 6 && m[a[5]].kind != Kind::none) {
    const Refs part = m[the(m, name, a[5], Kind::tuple)].items;
    want(m, name, part, 3, 3);
    want_id.part_key = key(part[0]);
    want_id.from = bytes(part[1]);
    want_id.part_bytes = bytes(part[2]);
  }
  if (!m.options().find_storage) m.refuse("has tensors where none can be");
  PthTensor all;  // what a storage is when no tensor is made from it
  all.dtype = type->second;
  all.big_endian = m.options().big_endian;
  all.storage = m.options().find_storage(want_id);
  all.shape = {static_cast<int64_t>(all.storage->bytes) / size};
  all.stride = {1};
  Node n;
  n.kind = Kind::tensor;
  n.text = type->first;
  n.storage = all.storage;
  n.tensor = std::make_shared<PthTensor>(std::move(all));
  return m.add(std::move(n));
}

}  // namespace krait::pickle
