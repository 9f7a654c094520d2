// GPU rows. A block is 32 pairs of channels wide and 8 tokens high; a thread owns pairs 32 apart of
// one token.
#include "kernels/common/device/dispatch.cuh"
#include "kernels/common/device/pair.cuh"
#include "kernels/rope/rows.h"

namespace krait {
namespace {

constexpr int lines = 8;

// `whole`: a pair is read and written by one instruction.
template <class T, bool whole>
__global__ void rope(RopeFwd p) {
  const int64_t row = int64_t{blockIdx.x} * lines + threadIdx.y;  // b L + t
  if (row >= p.B * p.L) return;
  const int64_t t = row % p.L - (p.L - p.P);  // row of the tables; negative: not rotated
  const T* x = static_cast<const T*>(p.x) + row * p.D;
  T* y = static_cast<T*>(p.y) + row * p.D;
  auto load = [](const T* from) -> float2 {
    if constexpr (whole) return load_pair(from);
    return {float(from[0]), float(from[1])};
  };
  for (int64_t d = 2 * threadIdx.x; d < p.D; d += 64) {
    const float2 v = load(x + d);
    float2 r = v;
    if (t >= 0) {
      const float c = static_cast<const float*>(p.cos)[t * p.D + d];
      const float sin = static_cast<const float*>(p.sin)[t * p.D + d];
      const float s = p.inverse ? -sin : sin;
      r = {v.x * c - v.y * s, v.y * c + v.x * s};
    }
    if (p.accumulate) {
      const float2 old = load(y + d);
      r = {old.x + r.x, old.y + r.y};
    }
    if constexpr (whole) {
      store_pair(y + d, r);
    } else {
      y[d] = T(r.x);
      y[d + 1] = T(r.y);
    }
  }
}

template <bool whole>
void launch(const RopeFwd& p, const Launch& l) {
  dispatch_gpu(p.dtype, [&]<class T>() {
    rope<T, whole><<<blocks_for(p.B * p.L, lines), dim3(32, lines), 0, l.stream>>>(p);
  });
}

}  // namespace

bool rope_pairs_supports(const RopeFwd& p, const Device&) {
  return aligned_for_pairs(p.x, p.y);
}
void rope_pairs(const RopeFwd& p, const Launch& l) {
  launch<true>(p, l);
}
void rope_elements(const RopeFwd& p, const Launch& l) {
  launch<false>(p, l);
}

}  // namespace krait
