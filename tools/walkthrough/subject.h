// What the walk-through is about: a checkpoint's model and a picture, and the trace of one through
// the other.
#pragma once

#include "tools/walkthrough/trace.h"

namespace krait::walk {

struct Choice {
  std::string checkpoint;
  std::string weights = "model";  // or ema
  std::string image;              // a file; empty: picture `index` of a test set
  std::string data_path;          // CIFAR's; empty: the drawn pictures (SYNTHETIC)
  int64_t index = 0;
  std::string label;  // a class, by name or number; empty: the test set's, else the model's answer
  int layer = 0;
};

struct Subject {
  std::string model, picture, target_from;
  std::vector<std::string> class_names;
  std::array<double, 3> mean{}, stddev{};  // of the training set's channels, pixels in [0, 1]
  std::vector<uint8_t> pixels;             // (3, S, S), as shown to the model
  int64_t parameters = 0;
  Trace trace;
};

// InputError in one line if something is wrong with the choice.
Subject load_subject(const Choice& choice);

}  // namespace krait::walk
