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

// Runs the row that was asked for, or the first that fits.
template <class Inner>
void run_inner(const Inner& p, const Launch& l, void* scratch) {
  const std::string_view forced = l.forced ? forced_row(*l.forced, Inner::name) : "";
  const Variant<Inner>* v = choose(p, l.device, forced);
  if (!v) no_row_fits(Inner::name, forced);
  run(*v, p,
      {.device = l.device,
       .stream = l.stream,
       .scratch = scratch,
       .libraries = l.libraries,
       .forced = l.forced});
}

}  // namespace krait
