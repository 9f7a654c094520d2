// Sets a training up: data, model, options, a checkpoint to go on from, memory.
#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <thread>
#include <tuple>
#include <utility>

#include "apps/train_cifar/convert.h"
#include "apps/train_cifar/finetune.h"
#include "apps/train_cifar/progress.h"
#include "apps/train_cifar/trainer.h"
#include "engine/data/image_folder.h"
#include "engine/data/subset.h"
#include "engine/data/test_pictures.h"
#include "models/transfer.h"

namespace krait {
namespace {

int workers(const TrainOptions& o) {
  return o.num_workers > 0 ? o.num_workers
                           : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

Dataset load_whole(const TrainOptions& o, bool train) {
  if (o.data_set == "CIFAR100") return load_cifar100(o.data_path, train);
  if (o.data_set == "CIFAR10") return load_cifar10(o.data_path, train);
  if (o.data_set == "SYNTHETIC") return synthetic(train, train ? 10000 : 2000);
  return list_image_folder(o.data_path, train, workers(o));
}

Dataset load_set(const TrainOptions& o, bool train) {
  Dataset d = load_whole(o, train);
  if (!o.classes.empty()) keep_classes(d, split_at_commas(o.classes));
  if (train && o.train_fraction < 1) keep_fraction(d, o.train_fraction);
  return d;
}

std::unique_ptr<BatchSource> source_of(Context& ctx, const Dataset& set, const TrainOptions& o,
                                       const AugmentOptions& augment, bool train,
                                       int64_t all_pictures, const Ranks& ranks) {
  if (set.files.empty()) return std::make_unique<DeviceDataset>(ctx, set);
  const double share = static_cast<double>(set.count()) / static_cast<double>(all_pictures);
  const int64_t part = o.batch_size / o.accumulate;
  const auto [from, to] = part_of(set.count(), ranks.rank(), ranks.size());
  return std::make_unique<FolderSource>(
      ctx, set,
      FolderOptions{.batch = train ? part : std::clamp<int64_t>(to - from, 1, part),
                    .train = train,
                    .augment = augment,
                    .repeats = train && o.repeated_aug ? 3 : 1,
                    .share = train ? share_of(part, ranks.rank(), ranks.size()) : Share{},
                    .from = train ? 0 : from,
                    .to = train ? set.count() : to,
                    .threads = workers(o),
                    .cache_bytes = static_cast<size_t>(o.cache_gb * share * (1 << 30)),
                    .pinned = o.pin_mem});
}

Backend backend_of(const TrainOptions& o) {
  if (o.device == "auto") return available(Backend::cuda) ? Backend::cuda : Backend::cpu;
  return o.device == "cuda" ? Backend::cuda : Backend::cpu;
}

DType type_of(const TrainOptions& o, Backend backend) {
  const std::string p = o.precision != "auto"      ? o.precision
                        : backend == Backend::cuda ? "bf16"
                                                   : "fp32";
  return p == "bf16" ? DType::bf16 : DType::f32;
}

// A Vision Mamba, changed as the options say.
void change(VimConfig& c, const TrainOptions& o) {
  for (const char* name : {"num-heads", "global-pool"})
    KRAIT_INPUT(!o.given.count(name), "--", name,
                " is of a VisionTransformer; the model is a Vision Mamba");
  if (o.patch_size) c.patch_size = c.stride = *o.patch_size;
  if (o.stride) c.stride = *o.stride;
  if (o.depth) c.depth = *o.depth;
  if (o.embed_dim) c.embed_dim = *o.embed_dim;
  if (o.d_state) c.d_state = *o.d_state;
  if (!o.stem.empty()) c.stem = o.stem;
  if (o.stem == "patch") c.stem_width = VimConfig().stem_width, c.stem_depth = 0;
  if (o.stem_width) c.stem_width = *o.stem_width;
  if (o.stem_depth) c.stem_depth = *o.stem_depth;
  if (!o.scan_order.empty()) c.scan_order = o.scan_order;
  if (!o.mixer_conv.empty()) c.mixer_conv = o.mixer_conv, c.d_conv = o.mixer_conv == "2d" ? 3 : 4;
  if (o.d_conv) c.d_conv = *o.d_conv;
  if (o.expand) c.expand = *o.expand;
  if (o.dt_rank) c.dt_rank = *o.dt_rank;
  if (o.input_size) c.img_size = *o.input_size;
  if (!o.bimamba_type.empty()) c.bimamba_type = o.bimamba_type;
  c.drop_rate = o.drop;
  c.drop_path_rate = o.drop_path;
  KRAIT_INPUT(c.final_pool_type != "all",
              "final_pool_type all gives one answer per token: it "
              "cannot be trained on one label per picture");
}

// A VisionTransformer.
void change(VitConfig& c, const TrainOptions& o) {
  for (const char* name : {"stride", "d-state", "d-conv", "expand", "dt-rank", "stem", "stem-width",
                           "stem-depth", "mixer-conv", "scan-order", "bimamba-type", "mixer-init"})
    KRAIT_INPUT(!o.given.count(name), "--", name,
                " is of a Vision Mamba; the model is a VisionTransformer");
  if (o.patch_size) c.patch_size = *o.patch_size;
  if (o.depth) c.depth = *o.depth;
  if (o.embed_dim) c.embed_dim = *o.embed_dim;
  if (o.num_heads) c.num_heads = *o.num_heads;
  if (o.input_size) c.img_size = *o.input_size;
  if (!o.global_pool.empty()) c.global_pool = o.global_pool;
  c.pos_drop_rate = o.drop;
  c.drop_path_rate = o.drop_path;
}

MixerInit mixer_init(const TrainOptions& o) {
  return o.mixer_init == "published" ? MixerInit::published
         : o.mixer_init == "seed"    ? MixerInit::seed
                                     : MixerInit::repaired;
}

// The named model, or the checkpoint's when no name was given, changed as the options say.
ImageModel model_of(const TrainOptions& o, const Checkpoint& from, const Dataset& data,
                    std::string& name) {
  name = o.model;
  ModelConfig config = model_config(o.model);
  if (!o.model_given && !from.path.empty()) {
    const Described known = described(from);
    config = known.config;
    name = known.name;
    if (!known.taken_for.empty())
      fmt::print("{} is taken for {} (--model says otherwise)\n", from.path, known.taken_for);
  }
  std::visit([&](auto& c) { change(c, o); }, config);
  set_num_classes(config, data.classes);
  return ImageModel(std::move(config), mixer_init(o));
}

constexpr int never = std::numeric_limits<int>::max();  // so many steps before one is recorded

// Of --resume or --finetune.
Checkpoint checkpoint_of(const TrainOptions& o) {
  const std::string& path = o.resume.empty() ? o.finetune : o.resume;
  if (path.empty()) return {};
  std::string warning;
  Checkpoint c = o.resume.empty() || o.eval ? read_checkpoint(path)
                                            : read_checkpoint_or_previous(path, warning);
  if (!warning.empty()) fmt::print(stderr, "warning: {}\n", warning);
  if (o.weights == "ema") take_average(c);
  return c;
}

// For --eval: the options, with what the checkpoint says of its test pictures.
const TrainOptions& as_trained(TrainOptions& o, const Checkpoint& from) {
  if (!o.eval || !from.state) return o;
  if (const std::string taken = take_over_test_pictures(o, from.state->options); !taken.empty())
    fmt::print("as the checkpoint was trained: {}\n", taken);
  return o;
}

// The options as the launcher completes them.
TrainOptions with_world(TrainOptions o, Ranks& ranks) {
  KRAIT_INPUT(!o.given.count("world_size") || o.world_size == ranks.size(), "--world_size is ",
              o.world_size, ", and ", ranks.size(),
              ranks.size() == 1 ? " process was" : " processes were",
              " started (by mpirun -n, srun -n or torchrun --nproc-per-node)");
  o.world_size = ranks.size();
  const std::string first = ranks.first_text(ranks.rank() == 0 ? to_json(o) : "");
  const std::string own = changed_options(o, first);
  const std::string others = ranks.first_text(
      own.empty() ? "" : cat("rank ", ranks.rank(), " has other options than rank 0: ", own));
  KRAIT_INPUT(others.empty(), others);
  if (ranks.rank() > 0) o.output_dir.clear();
  return o;
}

}  // namespace

Trainer::Trainer(const TrainOptions& options, Ranks& ranks)
    : ranks_(ranks),
      options_(with_world(options, ranks)),
      resumed_(checkpoint_of(options)),
      test_set_(load_set(as_trained(options_, resumed_), false)),
      train_set_(options.eval ? Dataset() : load_set(options, true)),
      model_(model_of(options, resumed_, test_set_, model_name_)),
      ctx_(backend_of(options)),
      type_(type_of(options, ctx_.device().backend)),
      params_([this](ParamStore& s) { model_.declare(s); }),
      channel_(ctx_),
      graph_(options.eager ? never : 3),
      part_graph_(options.eager ? never : 3),
      evaluation_graphs_(options.eager ? never : 1),
      started_(std::chrono::steady_clock::now()) {
  ctx_.allow_tf32 = options_.precision == "tf32";
  ctx_.two_streams = !options_.eager;
  for (const auto& [kernel, variant] : options_.kernels) ctx_.force(kernel, variant);
  const int64_t B = options_.batch_size;
  whole_ = B * ranks_.size();
  KRAIT_INPUT(options_.eval || train_set_.count() >= whole_, "--batch-size is ", B,
              ranks_.size() > 1 ? cat(" on each of ", ranks_.size(), " ranks") : "", "; ",
              train_set_.name, " has ", train_set_.count(), " training pictures");
  if (!options_.eval && !options_.output_dir.empty())
    folder_lock_ = take_output_folder(options_.output_dir);
  steps_per_epoch_ = std::max<int64_t>(1, train_set_.count() / whole_);
  part_ = B / options_.accumulate;

  plain_ = test_pictures(options_, test_set_, model_.img_size());
  augment_ = training_pictures(options_, test_set_, model_.img_size());
  const int64_t pictures = train_set_.count() + test_set_.count();
  if (!options_.eval)
    train_data_ = source_of(ctx_, train_set_, options_, augment_, true, pictures, ranks_);
  test_data_ = source_of(ctx_, test_set_, options_, plain_, false, pictures, ranks_);
  std::tie(test_from_, test_to_) = part_of(test_set_.count(), ranks_.rank(), ranks_.size());
  schedule_ = schedule_of(options_);
  optimizer_ = optimizer_options(options_);
  objective_ =
      std::make_unique<Objective>(ctx_, options_, type_, model_.img_size(), model_.num_classes());
  params_.allocate(ctx_, type_,
                   {.gradients = !options_.eval,
                    .moments = !options_.eval,
                    .ema = options_.model_ema,
                    .second_moment = optimizer_.second_moment()});
  model_.make_tables(ctx_, type_);
  test_totals_ = ctx_.persistent({int64_t(sizeof(Totals))}, DType::u8);
  predictions_ = ctx_.persistent({test_data_->count() * int64_t(sizeof(Prediction))}, DType::u8);
  ctx_.state = channel_.state();
  now_.seed = options_.seed;
  params_.initialise(ctx_, options_.seed);
  if (!options_.resume.empty()) load(options_.resume);
  if (!options_.finetune.empty()) {
    fmt::print("{}", start_from(ctx_, resumed_, options_, model_, params_));
    resumed_.content = {};
  }
  if (!options_.eval)
    if (const auto rates = learning_rates(options_, params_); !rates.empty())
      params_.set_rates(ctx_, rates);
  start_alike();
  now_.model = model_name_;
  now_.config = model_.to_json();
  now_.options = to_json(options_);
  now_.pictures = to_json(TestPictures{test_set_.class_names, plain_});
  reserve_memory();
}

void Trainer::load(const std::string& path) {
  const auto& before_this = resumed_.state ? resumed_.state : resumed_.foreign;
  if (before_this && !options_.eval) {
    auto moments = [](const std::string& opt) {
      return opt.find("adam") != std::string::npos ? 2 : 1;
    };
    const std::string before = saved_option(before_this->options, "opt");
    // A file that does not say is from when there was only AdamW.
    KRAIT_INPUT(moments(before.empty() ? "adamw" : before) == moments(options_.opt), path,
                ": was trained with --opt ", before.empty() ? "adamw" : before, ", and --opt ",
                options_.opt, " cannot go on with its moments");
  }
  load_checkpoint(ctx_, resumed_, params_, !options_.eval);
  if (!before_this) return;  // weights only, to be evaluated
  now_ = *before_this;
  if (resumed_.foreign) {  // its steps are counted here by its epochs
    now_.seed = options_.seed;
    now_.step = now_.epoch * steps_per_epoch_;
    now_.optimizer_ahead = static_cast<int64_t>(resumed_.foreign->step - now_.step);
  }
  // Another batch (of fewer ranks, say) has other steps: it goes on at the same place in the epoch.
  const auto before = [&](const char* name) {
    const std::string text = saved_option(before_this->options, name);
    return text.empty() ? 0 : std::atoll(text.c_str());
  };
  const int64_t batch = before("batch-size") * std::max<int64_t>(1, before("world_size"));
  if (resumed_.state && !options_.eval && batch > 0 && batch != whole_) {
    const auto step = now_.epoch * steps_per_epoch_ +
                      std::min(now_.step_in_epoch * batch / whole_, steps_per_epoch_ - 1);
    now_.optimizer_ahead += static_cast<int64_t>(now_.step) - step;
    now_.step = step;
  }
  if (const std::string changed = changed_options(options_, now_.options);
      !options_.eval && !changed.empty())
    fmt::print("changed since the checkpoint: {}\n", changed);
  resumed_.content = {};  // the file's bytes are no longer needed
}

// All ranks have the same numbers by now, unless their machines compute differently or their files
// differ: rank 0's count.
void Trainer::start_alike() {
  using Role = ParamStore::Role;
  ranks_.check_same("a checkpoint", cat(now_.step, " ", now_.seed));
  for (Role role : {Role::master, Role::moment1, Role::moment2, Role::ema})
    ranks_.broadcast(ctx_, params_.flat(role));
  if (ranks_.size() > 1) params_.refresh_copy(ctx_);
  if (options_.eval) return;
  if (auto sum = ranks_.make_sum(ctx_))
    sum_ = std::make_unique<GradientSum>(ctx_, std::move(sum), params_,
                                         static_cast<int64_t>(options_.bucket_mb * 1e6 / 4));
}

// Finds out what a step needs and takes it from the device, re-making layers if it does not fit
// otherwise; says what would fit if it still does not.
void Trainer::reserve_memory() {
  auto need = [&](int64_t part) {
    const int64_t keep = std::exchange(part_, part);
    const size_t bytes = ctx_.measure([&] {
      if (!options_.eval) {
        if (options_.accumulate > 1) forward_backward(ctx_, false);
        forward_backward(ctx_);
        update(ctx_);
        ctx_.training = false;
      } else {
        evaluate();
      }
    });
    part_ = keep;
    return bytes;
  };
  const size_t free = ranks_.smallest(free_memory(ctx_.device().backend));
  ctx_.remake_layers = options_.remake == "on";
  size_t bytes = need(part_);
  if (bytes > free && options_.remake == "auto" && !options_.eval) {
    ctx_.remake_layers = true;
    const size_t all = std::exchange(bytes, need(part_));
    if (bytes <= free)
      fmt::print(
          "a step that keeps what it computes takes {}, {} are free: the layers are re-made in the "
          "backward pass (--remake)\n",
          human_bytes(all), human_bytes(free));
  }
  if (bytes > free) {
    int64_t fits = 0;
    for (int64_t step = part_; step > 0; step /= 2)
      while (fits + step < part_ && need(fits + step) <= free) fits += step;
    if (augment_.mix) fits -= fits % 2;
    throw OutOfMemory(
        cat("out of memory: a step of batch ", part_,
            options_.accumulate > 1 ? " (the batch / --accumulate)" : "", " asks for ", bytes,
            " bytes (", human_bytes(bytes), "); ", ctx_.persistent_bytes(),
            " bytes are in use for parameters and data, and ", human_bytes(free),
            " are free on the ", ctx_.device().name, "; ",
            fits > 0 ? cat("a batch of ", fits, " would fit (--batch-size ",
                           fits * options_.accumulate, ", or a larger --accumulate)")
                     : std::string("not even a batch of 1 would fit")),
        bytes, ctx_.persistent_bytes());
  }
  size_t most = bytes;
  if (!options_.eval) most = std::max(most, ctx_.measure([&] { evaluate(); }));
  ctx_.reserve(most);
}

void Trainer::print_summary() const {
  fmt::print("{} on {}: {} parameters, {} tokens; {}, {}; step memory {}{}\n", now_.model,
             test_set_.name, params_.count(), model_.tokens(), ctx_.device().name,
             type_ == DType::bf16 ? "bf16"
             : ctx_.allow_tf32    ? "tf32"
                                  : "fp32",
             human_bytes(ctx_.arena().size()),
             ctx_.remake_layers && !options_.eval ? ", layers re-made" : "");
  if (!ranks_.name().empty()) {
    const int n = ranks_.size();
    fmt::print("{} rank{} through {}", n, n == 1 ? "" : "s", ranks_.name());
    if (!options_.eval) fmt::print(": {} pictures in a step, lr {:.2e}", whole_, schedule_.lr);
    if (sum_)
      fmt::print(", gradients through {} in buckets of {} MB", sum_->name(), options_.bucket_mb);
    fmt::print("\n");
  }
  int64_t trained = 0;
  for (const Param& p : params_.all()) trained += params_.frozen(p) ? 0 : p.shape.count();
  if (trained < params_.count()) fmt::print("{} of the parameters are trained\n", trained);
  if (const Teacher* teacher = objective_->teacher())
    fmt::print("teacher: {}\n", teacher->summary());
}

}  // namespace krait
