// Values of a checkpoint, and tensors out of their storages.
#include "engine/io/pth.h"

#include <algorithm>
#include <cstring>

namespace krait {

int64_t PthTensor::count() const {
  int64_t n = 1;
  for (const int64_t d : shape) n *= d;
  return n;
}
int64_t PthTensor::bytes() const {
  return count() * StoredTensor::element_bytes(dtype);
}

StoredTensor PthTensor::stored() const {
  const int64_t n = count(), size = StoredTensor::element_bytes(dtype);
  StoredTensor t{dtype, shape, Bytes(static_cast<size_t>(n * size))};
  if (n == 0) return t;
  KRAIT_CHECK(storage->data.size() == storage->bytes, "a tensor without its storage");
  const int rank = static_cast<int>(shape.size());
  int whole = rank;  // dimensions from here on lie packed in the storage
  int64_t run = 1;   // elements of them
  while (whole > 0 && (shape[whole - 1] == 1 || stride[whole - 1] == run)) run *= shape[--whole];
  std::vector<int64_t> index(whole, 0);
  int64_t from = offset;
  for (std::byte* to = t.bytes.data();; to += run * size) {
    std::memcpy(to, storage->data.data() + from * size, static_cast<size_t>(run * size));
    int d = whole - 1;  // the next index, last dimension first
    for (; d >= 0; --d) {
      from += stride[d];
      if (++index[d] < shape[d]) break;
      from -= stride[d] * shape[d];
      index[d] = 0;
    }
    if (d < 0) break;
  }
  if (big_endian && size > 1)
    for (int64_t i = 0; i < n; ++i)
      std::reverse(t.bytes.begin() + i * size, t.bytes.begin() + (i + 1) * size);
  return t;
}

const PthValue* PthValue::find(std::string_view key) const {
  if (!is(Kind::dict) && !is(Kind::object)) return nullptr;
  for (size_t i = 0; i + 1 < items.size(); i += 2)
    if (items[i].is(Kind::text) && items[i].text == key) return &items[i + 1];
  return nullptr;
}

PthValue PthValue::of(int64_t v) {
  PthValue p;
  p.kind = Kind::integer;
  p.integer = v;
  return p;
}
PthValue PthValue::of(double v) {
  PthValue p;
  p.kind = Kind::real;
  p.real = v;
  return p;
}
PthValue PthValue::of(const std::string& v) {
  PthValue p;
  p.kind = Kind::text;
  p.text = v;
  return p;
}
PthValue PthValue::of(StoredTensor v) {
  PthTensor t;
  t.dtype = v.dtype;
  t.shape = v.shape;
  t.stride.assign(t.shape.size(), 1);
  for (size_t i = t.shape.size(); i-- > 1;) t.stride[i - 1] = t.stride[i] * t.shape[i];
  auto memory = std::make_shared<const Bytes>(std::move(v.bytes));
  auto storage = std::make_shared<PthStorage>();
  storage->bytes = memory->size();
  storage->data = *memory;
  storage->owner = memory;
  t.storage = storage;
  PthValue p;
  p.kind = Kind::tensor;
  p.tensor = std::make_shared<PthTensor>(std::move(t));
  return p;
}
PthValue PthValue::dict() {
  PthValue p;
  p.kind = Kind::dict;
  return p;
}
PthValue& PthValue::add(const std::string& key, PthValue value) {
  items.push_back(of(key));
  items.push_back(std::move(value));
  return *this;
}

}  // namespace krait
