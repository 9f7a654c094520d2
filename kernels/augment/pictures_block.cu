// GPU row of augment_pictures: a block of threads makes a picture, in shared memory if it fits
// there, else in scratch memory.
#include <algorithm>

#include "kernels/augment/block_team.cuh"
#include "kernels/augment/make_picture.h"
#include "kernels/common/cuda.h"

namespace krait {
namespace {

constexpr int threads = 256;
constexpr size_t most_shared = 40 << 10;  // with the desk, what any GPU gives without being asked
constexpr int64_t most_blocks = 1024;     // with scratch memory

__global__ void __launch_bounds__(threads)
    augment_pictures(const __grid_constant__ AugmentPictures p, const __grid_constant__ Room room,
                     uint8_t* scratch) {
  extern __shared__ int32_t shared[];
  __shared__ alignas(Desk) unsigned char desk[sizeof(Desk)];
  uint8_t* memory =
      scratch ? scratch + blockIdx.x * room.bytes() : reinterpret_cast<uint8_t*>(shared);
  for (int64_t i = blockIdx.x; i < p.B; i += gridDim.x)
    make_picture(Block{}, p, room, i, *reinterpret_cast<Desk*>(desk), memory);
}

}  // namespace

size_t augment_pictures_scratch(const AugmentPictures& p) {
  const size_t bytes = Room(p).bytes();
  return bytes <= most_shared ? 0 : bytes * static_cast<size_t>(std::min(p.B, most_blocks));
}

void augment_pictures_block_per_picture(const AugmentPictures& p, const Launch& l) {
  if (p.B == 0) return;
  const Room room(p);
  const bool shared = augment_pictures_scratch(p) == 0;
  const auto blocks = static_cast<unsigned>(shared ? p.B : std::min(p.B, most_blocks));
  augment_pictures<<<blocks, threads, shared ? room.bytes() : 0, l.stream>>>(
      p, room, shared ? nullptr : static_cast<uint8_t*>(l.scratch));
}

}  // namespace krait
