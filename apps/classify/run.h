// What classify does once its options are known.
#pragma once

#include "apps/classify/inputs.h"
#include "apps/classify/output.h"
#include "apps/library/classifier.h"

namespace krait {

struct ClassifyOptions {
  Format format = Format::text;
  int top = 5;
  int threads = 1;  // that decode pictures
};

// Classifies all of `inputs` and prints to `out`, in their order; the threads decode a batch while
// the model works on the one before. A picture that cannot be read is named on stderr, and the rest
// go on. Returns the number of those. InputError if `out` cannot be written.
int64_t classify_all(Classifier& classifier, Inputs& inputs, const ClassifyOptions& options,
                     FILE* out);

// Prints how long a batch takes, and how long the first pictures of `inputs` (none: noise is
// taken) take to decode.
void benchmark(Classifier& classifier, Inputs& inputs, FILE* out);

}  // namespace krait
