// The options of train_cifar. Names are the published trainer's where it has them; the defaults are
// the short recipe of models/vim/README.md, and the end of --help lists where that differs.
#pragma once

#include <iostream>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace krait {

struct TrainOptions {
  // Model
  std::string model = "vim_tiny_patch4_32";
  bool model_given = false;  // on the command line or in the recipe
  std::optional<int> input_size, patch_size, stride, depth, embed_dim, d_state, d_conv, expand,
      dt_rank, stem_width, stem_depth, num_heads;                       // none: the model's own
  std::string global_pool, stem, mixer_conv, scan_order, bimamba_type;  // empty: the model's own
  std::string mixer_init = "repaired";
  double drop = 0, drop_path = 0;
  bool model_ema = false, model_ema_warmup = false;
  double model_ema_decay = 0.99996;
  std::string result = "model";  // or "ema": whose accuracy chooses best_checkpoint
  // Fine-tuning
  std::string finetune;           // checkpoint to start from; empty: none
  std::string weights = "model";  // or "ema": which of its weights
  std::string pos_embed_resize = "grid";
  bool resample_patches = false;
  std::vector<std::string> freeze;  // patterns of names, also several with commas between
  bool linear_probe = false;
  double layer_decay = 1;
  // Data
  std::string classes;  // names with commas between; empty: all
  double train_fraction = 1;
  std::string data_set = "CIFAR10", data_path = ".data", normalize = "dataset";
  int num_workers = 0;  // threads that read image folders; 0: as many as there are cores
  double cache_gb = 4;  // decoded pictures of image folders kept in memory
  bool pin_mem = true;
  std::vector<double> mean, stddev;  // empty: as `normalize` says
  std::string crop = "auto", pad_mode = "mean", train_interpolation = "auto";
  int crop_padding = 4;
  std::vector<double> scale = {0.08, 1}, ratio = {0.75, 1.3333333333333333};
  bool flip = true, repeated_aug = false;
  std::optional<double> eval_crop_ratio;  // none: 1; 0.875 of an image folder
  // Augmentation
  std::string aa = "none";
  bool three_augment = false, src = false;
  double color_jitter = 0, reprob = 0;
  std::string remode = "pixel", mixup_mode = "batch";
  int recount = 1;
  double smoothing = 0.1, mixup = 0, cutmix = 0, mixup_prob = 1, mixup_switch_prob = 0.5;
  std::vector<double> cutmix_minmax;
  int64_t aa_off_epoch = 0, mixup_off_epoch = 0;
  // Loss
  bool bce_loss = false, cosub = false, train_mode = true;
  std::string teacher_path, distillation_type = "none";
  double distillation_alpha = 0.5, distillation_tau = 1;
  // Optimiser and schedule
  int64_t epochs = 20, batch_size = 512, accumulate = 1;
  std::string opt = "adamw";
  double lr = 1e-3;         // at batch 512: the trainer scales it by batch / 512,
  bool unscale_lr = false;  // unless this says not to
  std::string sched = "cosine", schedule_unit = "step";
  double warmup_epochs = 1, warmup_lr = 1e-6, min_lr = 1e-5, decay_epochs = 30, decay_rate = 0.1;
  double weight_decay = 0.05, momentum = 0.9, opt_eps = 1e-8;
  std::vector<double> opt_betas = {0.9, 0.999};
  std::optional<double> clip_grad = 1;  // none or 0: no clipping
  bool if_continue_inf = false;
  // The run
  std::string recipe;              // as given; its values are in the other members
  std::string output_dir, resume;  // empty: nothing is saved, a new start
  bool eval = false;
  int64_t eval_every = 1;
  std::optional<double> target_acc1;
  int64_t seed = 0;
  std::string device = "auto", precision = "auto";
  std::vector<std::string> kernel;  // "NAME=VARIANT", as given, and taken apart:
  std::vector<std::pair<std::string, std::string>> kernels;
  std::string remake = "auto";  // layers in the backward pass, rather than keeping what they made
  int64_t world_size = 1;       // processes that train together; the launcher says it
  double bucket_mb = 4;         // of gradients that they add up at once
  bool eager = false;           // launch kernels one by one rather than as a captured graph
  double max_minutes = 0;       // 0: no limit
  int64_t print_every = 50;
  std::string command;  // no option: the whole command line, for the report

  std::set<std::string> given;  // names of the options on the command line or in the recipe
};

// Nothing after --help or --version, which are written to `out`. InputError in one line for
// anything wrong: an unknown option (with the nearest names), one of the published trainer's that
// is refused (with the reason), a number out of range (with the range), values that do not go
// together, a mistake in a recipe (with file, line and key).
std::optional<TrainOptions> parse_options(int argc, const char* const* argv,
                                          std::ostream& out = std::cout);

// What "auto" is: what the published trainer does with image folders, else the short recipe's.
std::string crop_of(const TrainOptions& options);
std::string interpolation_of(const TrainOptions& options);
double eval_crop_ratio_of(const TrainOptions& options);

// "a,b" -> a, b.
std::vector<std::string> split_at_commas(const std::string& text);

// All options as JSON, for the checkpoint.
std::string to_json(const TrainOptions& options);
// What a resumed training does differently from how it began: "lr 0.001 -> 0.002, ...". Empty: the
// training goes on exactly as it would have. Options that say where, not what, are left out.
std::string changed_options(const TrainOptions& now, const std::string& saved_json);
// One option of a checkpoint's, as JSON; empty if it is not there.
std::string saved_option(const std::string& saved_json, const std::string& name);
// For --eval: what decides how a test picture is shown to the model is the checkpoint's, where it
// was not given. Names what was taken over: "normalize "half", ...".
std::string take_over_test_pictures(TrainOptions& options, const std::string& saved_json);

}  // namespace krait
