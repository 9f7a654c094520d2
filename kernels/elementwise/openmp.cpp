// CPU rows: the reference's loops over several threads. Each element is computed by one thread, so
// the result does not depend on their number.
#include "kernels/elementwise/rows.h"

namespace krait {
namespace {

// Splits n elements among threads and hands each piece to `f(from, to)`.
template <class F>
void in_pieces(int64_t n, F&& f) {
  constexpr int64_t piece = 1 << 14;
#pragma omp parallel for schedule(static) if (n > piece)
  for (int64_t from = 0; from < n; from += piece) f(from, from + piece < n ? from + piece : n);
}

const void* at(const void* p, int64_t i, DType t) {
  return p ? static_cast<const std::byte*>(p) + i * size_of(t) : nullptr;
}
void* at(void* p, int64_t i, DType t) {
  return p ? static_cast<std::byte*>(p) + i * size_of(t) : nullptr;
}

}  // namespace

void unary_fwd_openmp(const UnaryFwd& p, const Launch& l) {
  in_pieces(p.n, [&](int64_t from, int64_t to) {
    UnaryFwd q = p;
    q.n = to - from;
    q.x = at(p.x, from, p.dtype);
    q.y = at(p.y, from, p.dtype);
    unary_fwd_reference(q, l);
  });
}
void unary_bwd_openmp(const UnaryBwd& p, const Launch& l) {
  in_pieces(p.n, [&](int64_t from, int64_t to) {
    UnaryBwd q = p;
    q.n = to - from;
    q.x = at(p.x, from, p.dtype);
    q.dy = at(p.dy, from, p.dtype);
    q.dx = at(p.dx, from, p.dtype);
    unary_bwd_reference(q, l);
  });
}
void add_openmp(const Add& p, const Launch& l) {
  in_pieces(p.n, [&](int64_t from, int64_t to) {
    Add q = p;
    q.n = to - from;
    q.a = at(p.a, from, p.a_dtype);
    q.b = at(p.b, from, p.b_dtype);
    q.y = at(p.y, from, p.dtype);
    add_reference(q, l);
  });
}

}  // namespace krait
