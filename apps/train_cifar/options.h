// The options of train_cifar. Names are the published trainer's where it has them; the defaults are
// the short recipe of models/vim/README.md, and the end of --help lists where that differs.
#pragma once

#include <iostream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace krait {

struct TrainOptions {
  // Model
  std::string model = "vim_tiny_patch4_32";
  bool model_given = false;  // on the command line
  std::optional<int> input_size, patch_size, stride, depth, embed_dim, d_state, d_conv, expand,
      dt_rank, stem_width, stem_depth;       // none: the model's own
  std::string stem, mixer_conv, scan_order;  // empty: the model's own
  std::string mixer_init = "repaired";
  double drop = 0, drop_path = 0;
  bool model_ema = false;
  double model_ema_decay = 0.99996;
  // Data
  std::string data_set = "CIFAR10", data_path = ".data";
  int num_workers = 0;  // threads that read image folders; 0: as many as there are cores
  double cache_gb = 4;  // decoded pictures of image folders kept in memory
  bool pin_mem = true;
  int crop_padding = 4;
  bool flip = true;
  double smoothing = 0.1, mixup = 0, cutmix = 0, mixup_prob = 1, mixup_switch_prob = 0.5;
  // Optimiser and schedule
  int64_t epochs = 20, batch_size = 512;
  double lr = 1e-3;         // at batch 512: the trainer scales it by batch / 512,
  bool unscale_lr = false;  // unless this says not to
  std::string sched = "cosine", schedule_unit = "step";
  double warmup_epochs = 1, warmup_lr = 1e-6, min_lr = 1e-5;
  double weight_decay = 0.05, opt_eps = 1e-8;
  std::vector<double> opt_betas = {0.9, 0.999};
  std::optional<double> clip_grad = 1;  // none or 0: no clipping
  // The run
  std::string output_dir, resume;  // empty: nothing is saved, a new start
  bool eval = false;
  int64_t seed = 0;
  std::string device = "auto", precision = "auto";
  std::vector<std::string> kernel;  // "NAME=VARIANT", as given, and taken apart:
  std::vector<std::pair<std::string, std::string>> kernels;
  std::string remake = "auto";  // layers in the backward pass, rather than keeping what they made
  bool eager = false;           // launch kernels one by one rather than as a captured graph
  double max_minutes = 0;       // 0: no limit
  int64_t print_every = 50;
};

// Nothing after --help or --version, which are written to `out`. InputError in one line for
// anything wrong: an unknown option (with the nearest names), a number out of range (with the
// range), values that do not go together.
std::optional<TrainOptions> parse_options(int argc, const char* const* argv,
                                          std::ostream& out = std::cout);

// All options as JSON, for the checkpoint.
std::string to_json(const TrainOptions& options);
// What a resumed training does differently from how it began: "lr 0.001 -> 0.002, ...". Empty: the
// training goes on exactly as it would have. Options that say where, not what, are left out.
std::string changed_options(const TrainOptions& now, const std::string& saved_json);

}  // namespace krait
