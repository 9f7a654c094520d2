// What a checkpoint says of the pictures that its model takes, so that a program that has nothing
// but the checkpoint shows them to the model as the evaluation did, and can name the classes.
#pragma once

#include "engine/data/dataset.h"

namespace krait {

struct TestPictures {
  std::vector<std::string> class_names;
  AugmentOptions how;  // size, crop (none or central) and its ratio, interpolation, mean, stddev
};

std::string to_json(const TestPictures& pictures);
// InputError in one line that begins with `file` if it is not what to_json writes.
TestPictures test_pictures_from_json(const std::string& json, const std::string& file);

}  // namespace krait
