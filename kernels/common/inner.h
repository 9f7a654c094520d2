// A kernel that is made of other kernels: their scratch memory, and running them.
#pragma once

#include <algorithm>

#include "kernels/common/kernel.h"

namespace krait {

// Bytes of scratch that are enough for whichever row of that backend runs.
template <class Inner>
size_t inner_bytes(const Inner& p, Backend backend) {
  size_t most = 0;
  for (const Variant<Inner>& v : variants<Inner>())
    if (v.backend == backend && v.scratch_bytes) most = std::max(most, v.scratch_bytes(p));
  return most;
}

// Runs the first row that fits.
template <class Inner>
void run_inner(const Inner& p, const Launch& l, void* scratch) {
  const Variant<Inner>* v = choose(p, l.device);
  KRAIT_CHECK(v, "no variant of ", Inner::name, " fits, which is a part of another kernel");
  run(*v, p,
      {.device = l.device, .stream = l.stream, .scratch = scratch, .libraries = l.libraries});
}

}  // namespace krait
