// From the options of the command line to those of the engine.
#pragma once

#include "apps/train_cifar/options.h"
#include "engine/data/dataset.h"
#include "engine/optimizer.h"
#include "engine/schedule.h"

namespace krait {

// How training and test pictures are made, for pictures of side `size`. InputError for what the
// engine refuses.
AugmentOptions training_pictures(const TrainOptions& options, const Dataset& data, int size);
AugmentOptions test_pictures(const TrainOptions& options, const Dataset& data, int size);
OptimizerOptions optimizer_options(const TrainOptions& options);
Schedule schedule_of(const TrainOptions& options);

}  // namespace krait
