// Those who make one picture together: one thread on a CPU, a block on a GPU. Code that is written
// for a team (a template over it) is the same code for both, so it gives the same bytes.
#pragma once

#include <cstdint>

#include "kernels/common/dtype.h"

namespace krait {

// A team of one. A block's is in block_team.cuh.
struct Solo {
  int rank() const { return 0; }
  int size() const { return 1; }
  void sync() const {}
  void add(int32_t* to, int32_t v) const { *to += v; }
  template <class F>
  void each_pixel(int height, int width, F f) const {  // f(y, x), in any order
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x) f(y, x);
  }
};

// Every index of 0 .. n-1, each by one of the team.
template <class Team, class F>
KRAIT_HD void each(const Team& team, int n, F f) {
  for (int i = team.rank(); i < n; i += team.size()) f(i);
}

// A picture in memory, or a part of one.
struct Pixels {
  const uint8_t* at;  // the first pixel
  int height, width;
  int row, plane;  // bytes from one row, one channel to the next
  KRAIT_HD int operator()(int c, int y, int x) const { return at[c * plane + y * row + x]; }
  KRAIT_HD static Pixels whole(const uint8_t* at, int height, int width) {
    return {at, height, width, width, height * width};
  }
  KRAIT_HD Pixels part(int y, int x, int h, int w) const {
    return {at + y * row + x, h, w, row, plane};
  }
};

}  // namespace krait
