// Scales a picture of any size as Pillow does, to the last bit: kernels/augment/resample.h says
// how, and does it on the device for pictures that all have one size.
#pragma once

#include "engine/data/image_file.h"

namespace krait {

struct Box {
  int y = 0, x = 0, height = 0, width = 0;
};

// Part `from` of the picture, scaled to height x width, of which only `window` is worked out.
// `out`: (3, window.height, window.width).
void resize_picture(const Picture& picture, const Box& from, int height, int width,
                    const Box& window, bool bicubic, uint8_t* out);

}  // namespace krait
