// Every variant of every kernel against its reference, on the small cases.
#include <doctest/doctest.h>

#include "kernels/common/case.h"

using namespace krait;

TEST_CASE("every kernel variant agrees with the reference") {
  int skipped = 0;
  for (auto& c : all_cases())
    for (int v = 0; v < c->variant_count(); ++v) {
      if (!c->info().small || !c->supports(v)) continue;
      if (!available(c->variant_backend(v))) {
        ++skipped;
        continue;
      }
      Check r = check(*c, v);
      INFO(c->kernel(), " ", c->size(), " ", c->variant_name(v), ": ", 100 * r.worst,
           "% of tolerance at ", r.where);
      CHECK(r.ok());
    }
  if (skipped) MESSAGE(skipped, " GPU checks skipped: no GPU here");
}
TEST_CASE("repeated cases: the CPU's variants agree with the small case's reference") {
  int checked = 0;
  for (auto& c : huge_cases(40000))
    for (int v = 0; v < c->variant_count(); ++v) {
      if (!c->supports(v) || c->variant_backend(v) != Backend::cpu) continue;
      const Check r = check(*c, v);
      INFO(c->kernel(), " ", c->size(), " ", c->variant_name(v), ": ", 100 * r.worst,
           "% of tolerance at ", r.where);
      CHECK(r.ok());
      ++checked;
    }
  CHECK(checked > 100);
}

namespace {

// y = 2 x, with what goes wrong where numbers of elements outgrow their type.
struct Doubled {
  static constexpr const char* name = "doubled";
  DType dtype;
  int64_t n;
  const void* x;
  void *y, *sum;
};
template <int64_t narrow>  // a number from which on the index starts again
void doubled(const Doubled& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    double sum = 0;
    for (int64_t i = 0; i < p.n; ++i) {
      const int64_t at = i % narrow;
      const T v = static_cast<const T*>(p.x)[at];
      static_cast<T*>(p.y)[at] = T(2 * static_cast<accum_t<T>>(v));
      sum += static_cast<double>(v);
    }
    static_cast<accum_t<T>*>(p.sum)[0] += static_cast<accum_t<T>>(sum);
  });
}

}  // namespace

namespace krait {
template <>
std::span<const Variant<Doubled>> variants<Doubled>() {
  static constexpr Variant<Doubled> table[] = {
      {"good", Backend::cpu, doubled<int64_t{1} << 40>},
      {"narrow", Backend::cpu, doubled<1 << 16>},
      {"reference", Backend::cpu, doubled<int64_t{1} << 40>},
  };
  return table;
}
}  // namespace krait

TEST_CASE("repeated cases: an index that is too narrow, and a sum that lacks a part, are noticed") {
  CaseList list;
  add_repeated(list, 1000, [](CaseList& to, int64_t times) {
    const int64_t n = 97 * times;
    to.push_back(make_case<Doubled>({.size = cat("n=", n)}, [=](CaseMemory& m) {
      return Doubled{m.dtype(), n, m.in("x", n, 1, 2), m.out("y", n),
                     m.inout_accum("sum", 1, 0, 1)};
    }));
  });
  CHECK(check(*list[0], 0).ok());
  const Check narrow = check(*list[0], 1);
  CHECK(!narrow.ok());
  CHECK(narrow.where.starts_with("y["));
  CHECK(!check(*list[0], 1).ok());
  CHECK(case_bytes(*list[0], 0) > 2 * 97000 * sizeof(float));
}

TEST_CASE("the last variant of every kernel is the CPU reference, and takes every case") {
  for (auto& c : all_cases()) {
    int last = c->variant_count() - 1;
    CHECK(c->variant_backend(last) == Backend::cpu);
    CHECK(c->supports(last));
  }
}
