// Picture i of a batch, from its draw to its bytes: what every row of augment_pictures runs.
#pragma once

#include "kernels/augment/geometry.h"
#include "kernels/augment/policy.h"

namespace krait {

// What one member of the team draws and all read, and their tables.
struct Desk {
  Geometry geometry;
  OperationList operations;
  int32_t counts[AugmentPictures::max_channels * 256];
  uint8_t table[AugmentPictures::max_channels * 256];
};

// Memory of one team beside its desk: three pictures and the weights of a scaling.
struct Room {
  size_t picture, last, weights;  // bytes
  int stride;
  explicit Room(const AugmentPictures& p)
      : picture((room_for(p) + 15) / 16 * 16),
        last((static_cast<size_t>(p.channels) * p.S * p.S + 15) / 16 * 16) {
    const TableSize table(p);
    weights = (static_cast<size_t>(table.pixels) * table.stride * sizeof(int32_t) + 15) / 16 * 16;
    stride = table.stride;
  }
  KRAIT_HD size_t bytes() const { return weights + 2 * picture + last; }
};

// `memory`: room.bytes() bytes, at a multiple of 4.
template <class Team>
KRAIT_HD void make_picture(const Team& team, const AugmentPictures& p, const Room& room, int64_t i,
                           Desk& desk, uint8_t* memory) {
  const StepState& state = *p.state;
  const int64_t place = state.share.place(i);
  const int64_t source = p.order ? p.order[state.first + place] : i;
  if (team.rank() == 0) {
    desk.geometry = draw_geometry(p.crop, p.train, state.seed, state.step, place, p.H, p.W, p.S);
    draw_operations(desk.operations, p, state, place);
  }
  team.sync();
  const int bytes = p.channels * p.S * p.S, count = desk.operations.count;
  uint8_t* const out = p.pictures + i * bytes;
  const WeightTable table{reinterpret_cast<int32_t*>(memory), room.stride};
  uint8_t* const a = memory + room.weights;
  uint8_t* const b = a + room.picture;
  uint8_t* const last = b + room.picture;
  const Pixels in = Pixels::whole(p.source + source * p.channels * p.H * p.W, p.H, p.W);
  make_geometry(team, in, p.channels, desk.geometry, p.S, p.fill, table, a, b, count ? last : out);
  if (count) {
    Canvas canvas{last, a, p.channels, p.S, p.fill, desk.counts, desk.table};
    for (int k = 0; k < count; ++k) apply(team, canvas, desk.operations.at[k]);
    each(team, bytes, [&](int k) { out[k] = canvas.now[k]; });
  }
  team.sync();  // the desk and the memory are free for the next picture
}

}  // namespace krait
