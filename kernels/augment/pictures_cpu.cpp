// CPU rows of augment_pictures: one picture after the other, and pictures over several threads.
#include <vector>

#include "kernels/augment/make_picture.h"

namespace krait {
namespace {

struct Workplace {
  Desk desk;
  std::vector<uint8_t> memory;
  explicit Workplace(const Room& room) : memory(room.bytes()) {}
};

}  // namespace

void augment_pictures_reference(const AugmentPictures& p, const Launch&) {
  const Room room(p);
  Workplace place(room);
  for (int64_t i = 0; i < p.B; ++i)
    make_picture(Solo{}, p, room, i, place.desk, place.memory.data());
}

void augment_pictures_openmp(const AugmentPictures& p, const Launch&) {
  const Room room(p);
#pragma omp parallel
  {
    Workplace place(room);
#pragma omp for schedule(dynamic, 4)
    for (int64_t i = 0; i < p.B; ++i)
      make_picture(Solo{}, p, room, i, place.desk, place.memory.data());
  }
}

}  // namespace krait
