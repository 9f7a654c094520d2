// Patch embeddings for patches of another size.
#pragma once

#include <cstdint>
#include <vector>

namespace krait {

// weights (filters, from, from) -> (filters, to, to), such that a patch of `from` pixels scaled to
// `to` gives what it gave before (Beyer et al., "FlexiViT", 2023: PI-resize). With R the matrix
// that scales a row of pixels (bilinear, half-pixel centres, a wider triangle where it shrinks) and
// Q the pseudo-inverse of its transpose: Q w Q^T. Exact for to >= from, else least squares.
std::vector<double> resample_patches(const std::vector<double>& weights, int from, int to,
                                     int64_t filters);

}  // namespace krait
