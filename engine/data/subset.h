// Parts of a data set: some of its classes, some of its pictures.
#pragma once

#include "engine/data/dataset.h"

namespace krait {

// Leaves the pictures of these classes, which get the labels 0, 1, 2, ... in the order of `names`.
// InputError if there is no such class (with the nearest names), one is named twice, or fewer than
// two are named.
void keep_classes(Dataset& data, const std::vector<std::string>& names);

// Leaves this share of every class's pictures, rounded, at least one, in the order they were in.
// Which ones depends on nothing but their places: every training sees the same, and a larger share
// has all pictures of a smaller one.
void keep_fraction(Dataset& data, double fraction);

}  // namespace krait
