// Whole trainings, small: reproducible, resumable without a trace, the same as a graph and step by
// step; what happens when a loss is not finite or memory does not suffice. On the CPU, and on a GPU
// where there is one.
#include <cstring>
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <omp.h>

#include "apps/train_cifar/trainer.h"
#include "kernels/matmul/matmul.h"

using namespace krait;

namespace {

// A model of 2 layers on 16 tokens, with everything random switched on.
TrainOptions small(const std::string& device, const std::string& precision) {
  TrainOptions o;
  o.model = "vim_micro_patch4_32";
  o.model_given = true;
  o.data_set = "SYNTHETIC";
  o.depth = 2;
  o.embed_dim = 16;
  o.patch_size = 8;
  o.drop_path = 0.1;
  o.drop = 0.05;
  o.mixup = 0.8;
  o.cutmix = 1;
  o.model_ema = true;
  o.model_ema_decay = 0.9;
  o.batch_size = 1000;  // 10 steps an epoch
  o.epochs = 2;
  o.lr = 2e-3;
  o.device = device;
  o.precision = precision;
  o.print_every = 1000000;
  return o;
}

// Every bit that a training leaves: weights, moments, average.
std::vector<std::vector<float>> bits(Trainer& t) {
  using Role = ParamStore::Role;
  std::vector<std::vector<float>> all;
  for (Role role : {Role::master, Role::moment1, Role::moment2, Role::ema})
    if (const Tensor& block = t.params().flat(role))
      all.push_back(t.context().download<float>(block));
  return all;
}

void check_same(const std::vector<std::vector<float>>& a,
                const std::vector<std::vector<float>>& b) {
  REQUIRE(a.size() == b.size());
  for (size_t k = 0; k < a.size(); ++k) {
    REQUIRE(a[k].size() == b[k].size());
    CHECK(std::memcmp(a[k].data(), b[k].data(), a[k].size() * sizeof(float)) == 0);
  }
}

struct Folder {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("krait-train-test-" + std::to_string(getpid()));
  Folder() { std::filesystem::create_directories(path); }
  ~Folder() { std::filesystem::remove_all(path); }
};

// Trained to step 13, and interrupted in the middle of the first epoch and resumed: the same bits.
void resumable(const Folder& folder, TrainOptions o) {
  Trainer whole(o);
  whole.train(13);  // into the second epoch
  o.output_dir = (folder.path / "resumed").string();
  o.resume.clear();
  Trainer(o).train(6);
  o.resume = o.output_dir + "/checkpoint.safetensors";
  Trainer resumed(o);
  CHECK(resumed.steps_done() == 6);
  resumed.train(13);
  check_same(bits(whole), bits(resumed));
}

// As a captured graph, and launched one by one: the same bits.
void same_as_eager(TrainOptions o) {
  Trainer graph(o);
  graph.train(10);
  o.eager = true;
  Trainer eager(o);
  eager.train(10);
  check_same(bits(graph), bits(eager));
}

// A small model trained for a few steps, to learn from.
std::string make_teacher(const Folder& folder, const std::string& device) {
  TrainOptions o = small(device, "fp32");
  o.patch_size = 16;
  o.depth = 1;
  o.model_ema = true;
  o.result = "ema";
  o.output_dir = (folder.path / "teacher").string();
  Trainer(o).train(2);
  return o.output_dir + "/checkpoint.safetensors";
}

// Trainings that between them have every feature of the loss and the optimiser switched on.
std::vector<TrainOptions> features(const std::string& device, const std::string& precision,
                                   const std::string& teacher) {
  TrainOptions base = small(device, precision);
  base.patch_size = 16;  // 4 tokens: there are many trainings here
  TrainOptions sgd = base;
  sgd.opt = "sgd";
  sgd.accumulate = 2;
  sgd.model_ema_warmup = true;
  sgd.sched = "step";
  sgd.decay_epochs = 0.5;
  sgd.cosub = true;
  sgd.if_continue_inf = true;
  TrainOptions bce = base;
  bce.bce_loss = true;
  bce.smoothing = 0;
  bce.opt = "adam";
  bce.sched = "tanh";
  bce.distillation_type = "hard";
  bce.teacher_path = teacher;
  TrainOptions soft = base;
  soft.distillation_type = "soft";
  soft.distillation_tau = 2;
  soft.teacher_path = teacher;
  soft.accumulate = 4;
  soft.sched = "linear";
  return {sgd, bce, soft};
}

// Trainings that between them have every augmentation and every switch of our own models on.
std::vector<TrainOptions> augmentations(const std::string& device, const std::string& precision) {
  TrainOptions base = small(device, precision);
  base.patch_size = 16;
  base.batch_size = 100;
  base.reprob = 0.5;
  base.recount = 2;
  TrainOptions windows = base;
  windows.crop = "resized";
  windows.train_interpolation = "random";
  windows.aa = "rand-m9-mstd0.5-inc1";
  windows.mixup_mode = "elem";
  windows.train_fraction = 0.1;  // 10 steps an epoch
  windows.aa_off_epoch = windows.mixup_off_epoch = 1;
  windows.repeated_aug = true;
  TrainOptions colours = base;
  colours.crop = "simple";
  colours.three_augment = true;
  colours.color_jitter = 0.3;
  colours.remode = "rand";
  colours.mixup_mode = "pair";
  colours.cutmix_minmax = {0.2, 0.8};
  TrainOptions policy = base;
  policy.pad_mode = "reflect";
  policy.aa = "cifar10";
  policy.stem = "conv";
  policy.stem_width = 4;
  policy.stem_depth = 1;
  policy.mixer_conv = "2d";
  policy.d_conv = 3;
  policy.scan_order = "alternate";
  return {windows, colours, policy};
}

void reproducible_and_resumable(const TrainOptions& o) {
  Trainer first(o);
  first.train(13);  // into the second epoch
  CHECK(first.steps_done() == 13);
  {
    Trainer second(o);
    second.train(13);
    check_same(bits(first), bits(second));
  }
  {  // another seed gives something else, so the comparison can fail
    TrainOptions other = o;
    other.seed = 1;
    Trainer second(other);
    second.train(13);
    CHECK(bits(first)[0] != bits(second)[0]);
  }
  Folder folder;
  TrainOptions saving = o;
  saving.output_dir = folder.path.string();
  {
    Trainer interrupted(saving);
    interrupted.train(6);  // in the middle of the first epoch
  }
  saving.resume = (folder.path / "checkpoint.safetensors").string();
  Trainer resumed(saving);
  CHECK(resumed.steps_done() == 6);
  resumed.train(13);
  check_same(bits(first), bits(resumed));
}

bool gpu() {
  if (available(Backend::cuda)) return true;
  MESSAGE("skipped: no GPU here");
  return false;
}

}  // namespace

TEST_CASE(
    "training: two runs with one seed, and one interrupted and resumed, are bit-equal (CPU)") {
  reproducible_and_resumable(small("cpu", "fp32"));
}
TEST_CASE(
    "training: two runs with one seed, and one interrupted and resumed, are bit-equal (GPU)") {
  if (!gpu()) return;
  reproducible_and_resumable(small("cuda", "bf16"));
  reproducible_and_resumable(small("cuda", "fp32"));
}
TEST_CASE("training: a captured graph and single launches are bit-equal (GPU)") {
  if (!gpu()) return;
  same_as_eager(small("cuda", "bf16"));
}
TEST_CASE("training: the number of threads changes no bit (CPU)") {
  Matmul one{};
  one.dtype = one.c_dtype = DType::f32;
  one.m = one.n = one.k = 1;
  if (std::string(choose(one, find_device(Backend::cpu))->name) == "blas") {
    MESSAGE("skipped: without AVX a BLAS does the products, and it may sum in another order");
    return;
  }
  const int before = omp_get_max_threads();
  std::vector<std::vector<std::vector<float>>> all;
  for (int threads : {1, 2, 5}) {
    omp_set_num_threads(threads);
    Trainer t(small("cpu", "fp32"));
    t.train(4);
    all.push_back(bits(t));
  }
  omp_set_num_threads(before);
  check_same(all[0], all[1]);
  check_same(all[0], all[2]);
}
TEST_CASE("training: re-making the layers changes no bit") {
  auto check = [](TrainOptions o) {
    o.remake = "off";
    Trainer kept(o);
    o.remake = "on";
    Trainer remade(o);
    CHECK(remade.context().arena().size() < kept.context().arena().size());
    kept.train(7);  // on a GPU: some of them replayed
    remade.train(7);
    check_same(bits(kept), bits(remade));
  };
  check(small("cpu", "fp32"));
  if (!gpu()) return;
  check(small("cuda", "fp32"));
  check(small("cuda", "bf16"));
}
TEST_CASE("evaluation: a captured graph and single launches give the same bits (GPU)") {
  if (!gpu()) return;
  TrainOptions o = small("cuda", "bf16");
  o.batch_size = 300;  // 2000 pictures: six batches and a smaller one
  Trainer graph(o);
  o.eager = true;
  Trainer eager(o);
  for (int epoch = 0; epoch < 3; ++epoch) {  // weights change, addresses do not
    graph.train(2 * epoch + 1);
    eager.train(2 * epoch + 1);
    const Evaluation a = graph.evaluate(), b = eager.evaluate();
    CHECK(a.loss == b.loss);
    CHECK(a.acc1 == b.acc1);
    const auto average_a = graph.evaluate_average(), average_b = eager.evaluate_average();
    CHECK(average_a->loss == average_b->loss);
    CHECK(average_a->loss != a.loss);
  }
  check_same(bits(graph), bits(eager));
}
TEST_CASE("training: the loss falls, and the CPU's and the GPU's losses agree") {
  TrainOptions o = small("cpu", "fp32");
  o.drop = o.drop_path = o.mixup = o.cutmix = 0;
  o.batch_size = 100;
  o.lr = 1e-2;
  o.unscale_lr = true;
  o.warmup_epochs = 0;
  Trainer t(o);
  t.train(1);
  const double start = t.last_train_loss();
  t.train(60);
  CHECK(start == doctest::Approx(2.303).epsilon(0.02));  // ln 10: nothing is known yet
  CHECK(t.last_train_loss() < start - 0.15);
  if (!gpu()) return;
  for (const char* precision : {"fp32", "bf16"}) {
    o.device = "cuda";
    o.precision = precision;
    Trainer on_gpu(o);
    on_gpu.train(60);
    CHECK(on_gpu.last_train_loss() ==
          doctest::Approx(t.last_train_loss()).epsilon(o.precision == "fp32" ? 1e-2 : 5e-2));
  }
}
TEST_CASE("training: a loss that is not finite stops it, naming the step and the tensor") {
  TrainOptions o = small("cpu", "fp32");
  o.mixup = o.cutmix = 0;
  o.batch_size = 100;
  o.unscale_lr = true;
  o.lr = 1e30;
  o.warmup_epochs = 0;
  o.clip_grad.reset();
  Trainer t(o);
  CHECK_THROWS_WITH_AS(t.train(20), doctest::Contains("is not finite at step"), Error);
}
TEST_CASE("training: a batch that does not fit in memory is refused with one that does") {
  TrainOptions o;
  o.model =
      "vim_base_patch16_224_bimambav2_final_pool_mean_abs_pos_embed_with_middle_cls_token_div2";
  o.model_given = true;
  o.data_set = "SYNTHETIC";
  o.device = "cpu";
  o.batch_size = 10000;
  CHECK_THROWS_WITH_AS(Trainer{o}, doctest::Contains("would fit"), OutOfMemory);
}
TEST_CASE(
    "evaluation: a checkpoint gives the accuracy it was saved with, without naming the model") {
  Folder folder;
  TrainOptions o = small("cpu", "fp32");
  o.batch_size = 500;
  o.epochs = 1;
  o.output_dir = folder.path.string();
  Trainer t(o);
  t.train();
  const Evaluation before = t.evaluate();
  TrainOptions again;
  again.data_set = "SYNTHETIC";
  again.device = "cpu";
  again.eval = true;
  again.batch_size = 300;  // 2000 pictures: the last batch is smaller
  again.resume = (folder.path / "best_checkpoint.safetensors").string();
  const Evaluation after = Trainer(again).evaluate();
  CHECK(after.acc1 == doctest::Approx(before.acc1));
  CHECK(after.loss == doctest::Approx(before.loss).epsilon(1e-5));
}

TEST_CASE("training: with every loss and optimiser, resumed bit-equal (CPU)") {
  Folder folder;
  for (const auto& o : features("cpu", "fp32", make_teacher(folder, "cpu"))) resumable(folder, o);
}
TEST_CASE("training: with every loss and optimiser, resumed bit-equal and as a graph (GPU)") {
  if (!gpu()) return;
  Folder folder;
  const std::string teacher = make_teacher(folder, "cuda");
  for (const char* precision : {"fp32", "bf16"})
    for (const auto& o : features("cuda", precision, teacher)) {
      resumable(folder, o);
      same_as_eager(o);
    }
}
TEST_CASE("training: with every augmentation, resumed bit-equal (CPU)") {
  Folder folder;
  for (const auto& o : augmentations("cpu", "fp32")) resumable(folder, o);
}
TEST_CASE("training: with every augmentation, resumed bit-equal and as a graph (GPU)") {
  if (!gpu()) return;
  Folder folder;
  for (const auto& o : augmentations("cuda", "bf16")) {
    resumable(folder, o);
    same_as_eager(o);
  }
}
TEST_CASE("training: a batch in parts is the batch, up to rounding, in less memory") {
  TrainOptions o = small("cpu", "fp32");
  o.drop = o.drop_path = o.mixup = o.cutmix = 0;  // what is drawn at random is drawn for each part
  o.crop_padding = 0;
  o.flip = false;
  o.opt = "sgd";  // AdamW would divide rounding errors by their own size
  o.lr = 0.1;
  o.warmup_epochs = 0;
  Trainer whole(o);
  o.accumulate = 4;
  Trainer parts(o);
  CHECK(parts.context().arena().size() < whole.context().arena().size() / 2);
  const auto start = bits(whole)[0];
  whole.train(4);
  parts.train(4);
  const auto a = bits(whole)[0], b = bits(parts)[0];
  double moved = 0, apart = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    moved += (a[i] - start[i]) * (a[i] - start[i]);
    apart += (a[i] - b[i]) * (a[i] - b[i]);
  }
  CHECK(moved > 0);
  CHECK(std::sqrt(apart / moved) < 1e-4);
}
TEST_CASE(
    "training: a teacher changes the loss by its share; a teacher that does not fit is refused") {
  Folder folder;
  TrainOptions o = small("cpu", "fp32");
  o.patch_size = 16;
  Trainer alone(o);
  alone.train(1);
  o.teacher_path = make_teacher(folder, "cpu");
  for (const char* type : {"soft", "hard"}) {
    o.distillation_type = type;
    o.distillation_alpha = 0;
    Trainer none(o);
    none.train(1);
    CHECK(none.last_train_loss() == doctest::Approx(alone.last_train_loss()).epsilon(1e-6));
    std::vector<double> losses;
    for (double alpha : {0.25, 1.0}) {
      o.distillation_alpha = alpha;
      Trainer with(o);
      with.train(1);
      losses.push_back(with.last_train_loss());
    }
    const double only = losses[1];
    CHECK(losses[0] == doctest::Approx(0.75 * alone.last_train_loss() + 0.25 * only).epsilon(1e-5));
    CHECK(std::abs(only - alone.last_train_loss()) > 1e-3);
  }
  o.input_size = 64;
  CHECK_THROWS_WITH_AS(Trainer{o}, doctest::Contains("the teacher takes pictures of side 32"),
                       InputError);
}

TEST_CASE("training: --aa-off-epoch and --mixup-off-epoch change what comes after that epoch") {
  TrainOptions o = small("cpu", "fp32");
  o.patch_size = 16;
  o.depth = 1;
  o.batch_size = 100;
  o.train_fraction = 0.1;  // 10 steps an epoch
  o.cutmix = 0;
  o.aa = "rand-m9-mstd0.5-inc1";
  for (const char* mode : {"batch", "elem"}) {
    o.mixup_mode = mode;
    TrainOptions plain = o, unmixed = o;
    plain.aa_off_epoch = unmixed.mixup_off_epoch = 1;
    for (const TrainOptions& changed : {plain, unmixed}) {
      Trainer until(o), t(changed);
      until.train(10);
      t.train(10);
      check_same(bits(until), bits(t));
      until.train(11);
      t.train(11);
      CHECK(bits(until)[0] != bits(t)[0]);
    }
  }
}

TEST_CASE("training: --no-train-mode leaves dropout and drop path out") {
  TrainOptions o = small("cpu", "fp32");
  o.train_mode = false;
  Trainer off(o);
  o.train_mode = true;
  o.drop = o.drop_path = 0;
  Trainer none(o);
  off.train(2);
  none.train(2);
  check_same(bits(off), bits(none));
}
TEST_CASE("training: --if_continue_inf skips steps that are not finite") {
  TrainOptions o = small("cpu", "fp32");
  o.unscale_lr = true;
  o.lr = 1e30;
  o.warmup_epochs = 0;
  o.clip_grad.reset();
  o.if_continue_inf = true;
  Trainer t(o);
  t.train(5);
  CHECK(t.steps_done() == 5);
  CHECK(t.steps_skipped() >= 3);
}
TEST_CASE("training: stops at --target-acc1, and evaluates every few epochs and at the end") {
  Folder folder;
  TrainOptions o = small("cpu", "fp32");
  o.patch_size = 16;
  o.epochs = 3;
  o.eval_every = 2;
  o.output_dir = folder.path.string();
  Trainer t(o);
  t.train();
  std::ifstream log(folder.path / "log.txt");
  std::vector<bool> tested;
  for (std::string line; std::getline(log, line);)
    tested.push_back(nlohmann::json::parse(line).contains("test_acc1"));
  CHECK(tested == std::vector<bool>{false, true, true});
  CHECK(!t.target_reached());
  o.output_dir.clear();
  o.eval_every = 1;
  o.target_acc1 = 0.5;
  Trainer early(o);
  early.train();
  CHECK(early.target_reached());
  CHECK(early.steps_done() == 10);
}
TEST_CASE("training: a resumed one cannot change to an optimiser with other moments") {
  Folder folder;
  TrainOptions o = small("cpu", "fp32");
  o.opt = "momentum";
  o.output_dir = folder.path.string();
  Trainer(o).train(1);
  o.resume = o.output_dir + "/checkpoint.safetensors";
  o.opt = "adamw";
  CHECK_THROWS_WITH_AS(Trainer{o}, doctest::Contains("was trained with --opt \"momentum\""),
                       InputError);
}
