// Counter-based random numbers: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011). A number is a pure function of (seed, stream, step, index), so CPU and GPU
// draw the same ones, in any order, and nothing has to be stored to resume.
#pragma once

#include <cstdint>

#include "kernels/common/dtype.h"

namespace krait {

// What a random number is for. Two uses never share a stream.
enum class Draw : uint32_t {
  init = 1,       // parameters at the start
  order = 2,      // the order of the training pictures in an epoch
  crop = 3,       // crop of one picture
  mix = 4,        // mixup and CutMix of one batch
  synthetic = 5,  // the drawn data set
  flip = 6,       // of one picture
  operation = 7,  // RandAugment and so on, of one picture
  erase = 8,      // boxes of one picture
  noise = 9,      // what they are filled with, pixel by pixel
  subset = 10,    // which pictures a part of a data set has
  drop = 100,     // drop path and dropout: 100 + the place in the model
};

struct Random4 {
  uint32_t word[4];
};

KRAIT_HD inline Random4 philox(uint64_t seed, uint32_t stream, uint64_t step, uint64_t index) {
  // The counter: index (64 bits), the low 32 bits of step, stream. The high bits of step go into
  // the key, which nobody reaches.
  uint32_t c[4] = {static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                   static_cast<uint32_t>(step), stream};
  uint32_t k[2] = {static_cast<uint32_t>(seed),
                   static_cast<uint32_t>(seed >> 32) ^ static_cast<uint32_t>(step >> 32)};
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c[0], p1 = uint64_t{0xCD9E8D57u} * c[2];
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k[0];
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k[1];
    c[1] = static_cast<uint32_t>(p1);
    c[3] = static_cast<uint32_t>(p0);
    c[0] = n0;
    c[2] = n2;
    k[0] += 0x9E3779B9u;
    k[1] += 0xBB67AE85u;
  }
  return {{c[0], c[1], c[2], c[3]}};
}

// In [0, 1), on a grid of 2^-24: exact in f32, the same on every machine.
KRAIT_HD inline float uniform01(uint32_t word) {
  return static_cast<float>(word >> 8) * 0x1p-24f;
}

// In 0 .. n-1 (Lemire's multiply-shift; n is far below 2^32, so the bias is not measurable).
KRAIT_HD inline uint32_t below(uint32_t word, uint32_t n) {
  return static_cast<uint32_t>((uint64_t{word} * n) >> 32);
}

}  // namespace krait
