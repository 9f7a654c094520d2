// A training run: data, model, optimiser state and the loop over epochs. One step is
// Trainer::forward_backward and Trainer::update; everything around them is bookkeeping.
#pragma once

#include <chrono>
#include <memory>

#include "apps/train_cifar/objective.h"
#include "apps/train_cifar/options.h"
#include "apps/train_cifar/report.h"
#include "engine/checkpoint.h"
#include "engine/data/dataset.h"
#include "engine/optimizer.h"
#include "engine/parallel/gradient_sum.h"
#include "engine/schedule.h"
#include "engine/step_channel.h"
#include "engine/step_graph.h"
#include "models/model.h"

namespace krait {

struct Evaluation {
  double loss = 0, acc1 = 0, acc5 = 0;  // accuracies in percent
  std::vector<Prediction> predictions;  // one for each test picture
};

class Trainer {
 public:
  // Throws InputError before anything is written. With several ranks, each makes one, and all call
  // the same functions of it; only rank 0 writes, and says what it does.
  explicit Trainer(const TrainOptions& options, Ranks& ranks = alone());
  // Until done, out of time, interrupted, or `stop_at` optimiser steps are done.
  void train(uint64_t stop_at = UINT64_MAX);
  std::optional<Evaluation> evaluate_average();  // with the EMA weights, if there are any
  Evaluation evaluate();                         // on the test set
  void print_summary() const;
  bool interrupted() const { return interrupted_; }
  double best_acc1() const { return now_.best_acc1; }
  int64_t best_epoch() const { return now_.best_epoch; }  // from 0; -1: none yet
  uint64_t steps_done() const { return now_.step; }
  double last_train_loss() const { return last_loss_; }  // of the last step that came back
  uint64_t steps_skipped() const { return skipped_; }    // by --if_continue_inf
  bool target_reached() const { return target_reached_; }
  const ParamStore& params() const { return params_; }
  Context& context() { return ctx_; }

 private:
  // Adds gradients; the loss goes to the channel. `last`: of the parts of a step.
  void forward_backward(Context& ctx, bool last = true);
  void update(Context& ctx);
  StepState state_of(uint64_t step, int64_t part = 0) const;
  std::optional<StepResult> train_step(uint64_t step);  // of a part of a step before it
  void train_epoch();
  void finish_epoch();
  void note_target(const Evaluation& model, const std::optional<Evaluation>& average);
  void check(const StepChannel::Arrived& arrived);
  [[noreturn]] void explain_not_finite(const StepState& at);
  void reserve_memory();
  void load(const std::string& path);
  void save(bool best = false);
  void start_alike();
  bool out_of_time();  // by rank 0's clock
  double elapsed() const;
  nlohmann::ordered_json run_facts() const;  // run.json

  Ranks& ranks_;
  TrainOptions options_;
  std::unique_ptr<File> folder_lock_;  // of the output folder
  Checkpoint resumed_;                 // or fine-tuned; empty path: none
  Dataset test_set_, train_set_;
  std::string model_name_;
  ImageModel model_;
  Context ctx_;
  DType type_;  // of activations
  ParamStore params_;
  std::unique_ptr<GradientSum> sum_;  // over ranks; null: there is one. Outlives the graphs
  std::unique_ptr<BatchSource> train_data_, test_data_;
  AugmentOptions augment_, plain_;
  Schedule schedule_;
  OptimizerOptions optimizer_;
  std::unique_ptr<Objective> objective_;
  StepChannel channel_;
  StepGraph graph_, part_graph_;  // a step, or the last part of one; a part before it
  StepGraphs<std::pair<int64_t, bool>> evaluation_graphs_;  // by batch size, and average or not
  CheckpointWriter writer_;
  std::optional<RunReport> report_;  // where there is an output folder
  Tensor test_totals_;               // one Totals, in device memory
  Tensor predictions_;               // a Prediction for each test picture, in device memory
  int64_t part_;   // pictures that go through the model at once: the batch / --accumulate
  int64_t whole_;  // the batch of all ranks
  int64_t test_from_ = 0, test_to_ = 0;  // the test pictures that this rank evaluates
  int64_t steps_per_epoch_;
  TrainState now_;
  uint64_t stop_at_ = UINT64_MAX;
  bool interrupted_ = false, target_reached_ = false;
  uint64_t skipped_ = 0;
  double last_loss_ = 0;
  std::chrono::steady_clock::time_point started_;
  double seconds_before_ = 0;
  double seconds_waited_ = 0;  // for pictures from files, up to this epoch
};

}  // namespace krait
