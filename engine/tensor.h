// A tensor is a value: copying it copies a small description and shares the memory.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <ostream>

#include "kernels/common/kernel.h"

namespace krait {

struct Shape {
  static constexpr int max_rank = 5;
  std::array<int64_t, max_rank> dim{};
  int rank = 0;
  Shape() = default;
  Shape(std::initializer_list<int64_t> d) {
    KRAIT_CHECK(d.size() <= max_rank, "a shape of rank ", d.size());
    for (int64_t v : d) dim[rank++] = v;
  }
  int64_t operator[](int i) const { return dim[i < 0 ? rank + i : i]; }
  int64_t count() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= dim[i];
    return n;
  }
  // The same shape with another last dimension.
  Shape with_last(int64_t n) const {
    Shape s = *this;
    s.dim[s.rank - 1] = n;
    return s;
  }
  bool operator==(const Shape&) const = default;
};
inline std::ostream& operator<<(std::ostream& s, const Shape& v) {
  s << '(';
  for (int i = 0; i < v.rank; ++i) s << (i ? ", " : "") << v.dim[i];
  return s << ')';
}

class Tensor {
 public:
  Tensor() = default;
  // `row_stride`: elements from one row to the next; -1: rows are packed.
  Tensor(std::shared_ptr<std::byte> memory, Shape shape, DType dtype, int64_t row_stride = -1)
      : memory_(std::move(memory)), shape_(shape), dtype_(dtype) {
    row_stride_ = row_stride >= 0 ? row_stride : shape.rank ? shape[-1] : 1;
  }
  const Shape& shape() const { return shape_; }
  int64_t shape(int i) const { return shape_[i]; }
  DType dtype() const { return dtype_; }
  int64_t count() const { return shape_.count(); }
  int64_t rows() const { return shape_.rank ? count() / (shape_[-1] ? shape_[-1] : 1) : 1; }
  // Elements from one row (of the last dimension) to the next. Nothing else can be strided.
  int64_t row_stride() const { return row_stride_; }
  bool contiguous() const { return shape_.rank == 0 || row_stride_ == shape_[-1]; }
  // Columns [from, to) of every row, sharing memory.
  Tensor columns(int64_t from, int64_t to) const {
    KRAIT_CHECK(0 <= from && from < to && to <= shape_[-1], "columns ", from, " to ", to, " of ",
                shape_);
    Tensor t = *this;
    t.memory_ = {memory_, memory_.get() + from * static_cast<int64_t>(size_of(dtype_))};
    t.shape_.dim[shape_.rank - 1] = to - from;
    t.slot_ = -1;
    return t;
  }
  // The same memory and place on the tape, seen in another shape (contiguous tensors only).
  Tensor viewed(Shape shape) const {
    KRAIT_CHECK(contiguous() && shape.count() == count(), "cannot view ", shape_, " as ", shape);
    Tensor t = *this;
    t.shape_ = shape;
    t.row_stride_ = shape.rank ? shape[-1] : 1;
    return t;
  }
  // The same place on the tape, without the memory: for a backward step that does not read values.
  Tensor place() const {
    Tensor t = *this;
    t.memory_ = nullptr;
    return t;
  }
  explicit operator bool() const { return memory_ != nullptr; }
  void* data() const { return memory_.get(); }
  template <class T>
  T* as() const {
    return static_cast<T*>(data());
  }
  const std::shared_ptr<std::byte>& memory() const { return memory_; }

 private:
  friend class Tape;
  std::shared_ptr<std::byte> memory_;
  Shape shape_;
  DType dtype_ = DType::f32;
  int64_t row_stride_ = 1;
  int32_t slot_ = -1;  // where the tape keeps this value's gradient; -1: none is wanted
  uint32_t tape_ = 0;  // which tape that is: a slot of another tape means nothing
};
using Tensors = std::vector<Tensor>;

}  // namespace krait
