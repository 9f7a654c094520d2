// Position embeddings for another grid, when a checkpoint is used at another resolution.
#pragma once

#include <cstdint>
#include <vector>

namespace krait {

// values (from * from, D), row by row -> (to * to, D): bicubic interpolation as
// torch.nn.functional.interpolate(mode="bicubic", align_corners=False) does it (Keys 1981 with
// a = -0.75, half-pixel centres, border repeated, no antialiasing).
std::vector<double> resize_pos_embed(const std::vector<double>& values, int from, int to,
                                     int64_t D);

}  // namespace krait
