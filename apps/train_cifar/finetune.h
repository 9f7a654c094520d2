// Starting from another training's weights, and training only parts of a model.
#pragma once

#include "apps/train_cifar/options.h"
#include "engine/checkpoint.h"
#include "models/model.h"

namespace krait {

// Which model a checkpoint is of.
struct Described {
  ModelConfig config;
  std::string name;
  std::string taken_for;  // empty: the file says it. Else what it was taken for, to be printed
  bool guessed = false;   // of no registered model: `config` supposes what shapes do not show
};
// Our own checkpoints say it; others are told by the names and shapes of their weights, and by the
// published trainer's --model where that fits them. InputError if they are of something else.
Described described(const Checkpoint& checkpoint);

// --finetune: fills the initialised `params` of a model with the checkpoint's weights. Returns what
// was loaded, resized, dropped and new, to be printed. InputError if it is of another model.
std::string start_from(Context& ctx, const Checkpoint& checkpoint, const TrainOptions& options,
                       const ImageModel& model, ParamStore& params);

// --freeze, --linear-probe and --layer-decay: each parameter's share of the learning rate, for
// ParamStore::set_rates. Empty: all are 1. Layer i of `depth` learns at decay^(depth - i) times the
// rate of head and last norm, the embeddings at decay^(depth + 1) (BEiT, Bao et al. 2022; timm's
// param_groups_layer_decay). InputError for a pattern that fits no name, or if nothing is left.
std::vector<float> learning_rates(const TrainOptions& options, const ParamStore& params);

}  // namespace krait
