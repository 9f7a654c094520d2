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
TEST_CASE("the last variant of every kernel is the CPU reference, and takes every case") {
  for (auto& c : all_cases()) {
    int last = c->variant_count() - 1;
    CHECK(c->variant_backend(last) == Backend::cpu);
    CHECK(c->supports(last));
  }
}
