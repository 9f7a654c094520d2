// The command line of train_cifar: defaults, ranges, and what mistakes are called.
#include "apps/train_cifar/options.h"

#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <unistd.h>

#include "kernels/common/error.h"
#include "kernels/common/kernel.h"

using namespace krait;

namespace {

std::optional<TrainOptions> parse(const std::string& line, std::ostream& out) {
  std::vector<std::string> words = {"train_cifar"};
  std::istringstream in(line);
  for (std::string w; in >> w;) words.push_back(w);
  std::vector<const char*> argv;
  for (const auto& w : words) argv.push_back(w.c_str());
  return parse_options(static_cast<int>(argv.size()), argv.data(), out);
}
TrainOptions parse(const std::string& line) {
  std::ostringstream out;
  auto o = parse(line, out);
  REQUIRE(o.has_value());
  return *o;
}
std::string error(const std::string& line) {
  try {
    parse(line);
  } catch (const InputError& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("options: values arrive") {
  const TrainOptions o = parse(
      "--model vim_micro_patch4_32 --data-set SYNTHETIC --epochs 7 --batch-size 64 --lr 1.6e-2 "
      "--unscale-lr --sched constant --schedule-unit epoch --warmup-epochs 0.5 --opt-betas 0.8 "
      "0.95 "
      "--clip-grad 0.25 --patch-size 2 --d-state 8 --no-flip --model-ema --output-dir here "
      "--kernel adamw=reference --kernel fill=reference --seed 12345678901 --max-minutes 1.5");
  CHECK(o.model == "vim_micro_patch4_32");
  CHECK(o.model_given);
  CHECK(o.data_set == "SYNTHETIC");
  CHECK(o.epochs == 7);
  CHECK(o.batch_size == 64);
  CHECK(o.lr == 1.6e-2);
  CHECK(o.unscale_lr);
  CHECK(o.sched == "constant");
  CHECK(o.schedule_unit == "epoch");
  CHECK(o.warmup_epochs == 0.5);
  CHECK(o.opt_betas == std::vector<double>{0.8, 0.95});
  CHECK(o.clip_grad == 0.25);
  CHECK(o.patch_size == 2);
  CHECK(o.d_state == 8);
  CHECK(!o.stride);
  CHECK(!o.flip);
  CHECK(o.model_ema);
  CHECK(o.output_dir == "here");
  CHECK(parse("--output_dir here").output_dir == "here");
  REQUIRE(o.kernels.size() == 2);
  CHECK(o.kernels[1] == std::pair<std::string, std::string>("fill", "reference"));
  CHECK(o.seed == 12345678901);
  CHECK(o.max_minutes == 1.5);
  // A later one wins, so that a script's recipe can be changed by adding to it.
  CHECK(parse("--lr 1 --lr 2 --no-flip --flip").lr == 2);
  CHECK(parse("--no-flip --flip").flip);
  CHECK(!parse("--model-ema --no-model-ema").model_ema);
  CHECK(!parse("").model_given);
  CHECK(parse("").epochs == TrainOptions().epochs);
}

TEST_CASE("options: mistakes are one clear line") {
  CHECK(error("--batchsize 4") ==
        "there is no option --batchsize. The nearest names: --batch-size, --patch-size, "
        "--input-size");
  CHECK(error("--warmup-lrs=3").find("--warmup-lrs. The nearest names: --warmup-lr,") !=
        std::string::npos);
  CHECK(error("cifar") == "'cifar' belongs to no option");
  CHECK(error("--lr -1") == "--lr is -1; it must be 0 to 1000");
  CHECK(error("--lr nan") == "--lr is nan; it must be 0 to 1000");
  CHECK(error("--lr fast") == "--lr is 'fast', which is not a number");
  CHECK(error("--lr") == "--lr needs a value");
  CHECK(error("--epochs 0") == "--epochs is 0; it must be 1 to 1000000");
  CHECK(error("--epochs 2.5") == "--epochs is 2.5, which is not a whole number");
  CHECK(error("--batch-size 99999999999999999999") ==
        "--batch-size is 99999999999999999999; it must be 1 to 1000000");
  CHECK(error("--d-state 65") == "--d-state is 65; it must be 1 to 64");
  CHECK(error("--d-conv 9") == "--d-conv is 9; it must be 2 to 8");
  CHECK(error("--opt-eps 0") == "--opt-eps is 0; it must be more than 0 and at most 1");
  CHECK(error("--opt-betas 0.9") == "--opt-betas needs two numbers");
  CHECK(error("--opt-betas 0.9 1.5") == "--opt-betas is 1.5; it must be 0 to 0.9999999");
  CHECK(error("--device gpu") == "--device is 'gpu'; it must be auto, cpu or cuda");
  CHECK(error("--data-set MNIST") ==
        "--data-set is 'MNIST'; it must be CIFAR10, CIFAR100, IMAGE_FOLDER, IMNET or SYNTHETIC");
  CHECK(error("--mixup 0.8 --batch-size 63").find("--batch-size is 63; it must be even") == 0);
  CHECK(error("--cutmix 1 --batch-size 63").find("--batch-size is 63; it must be even") == 0);
  CHECK(error("--batch-size 63") == "no error");
  CHECK(error("--epochs 3 --warmup-epochs 5") ==
        "--warmup-epochs is 5; it must be at most --epochs, 3");
  CHECK(error("--eval") == "--eval needs --resume CHECKPOINT");
  CHECK(error("--device cpu --precision tf32").find("--precision tf32 needs a GPU") == 0);
  if (!available(Backend::cuda)) CHECK(error("--device cuda") != "no error");
  CHECK(error("--model vim_tiny_patch4").find("there is no model 'vim_tiny_patch4'") == 0);
  CHECK(error("--kernel adamw").find("it must be NAME=VARIANT") != std::string::npos);
  CHECK(error("--kernel adanw=x").find("The nearest names: adamw") != std::string::npos);
  CHECK(error("--kernel adamw=x").find("adamw has no variant 'x'. It has: ") != std::string::npos);
  for (const char* line : {"--lr", "--lr a", "--foo", "x", "--eval", "--kernel a=b", "--eval=no=x"})
    CHECK(error(line).find('\n') == std::string::npos);
}

TEST_CASE("options: help names every option, its group and default") {
  std::ostringstream out;
  CHECK(!parse("--help", out));
  for (const char* part : {"Model:", "Data:", "Optimiser and schedule:", "Run:", "512", "0.001",
                           "--clip-grad NUMBER", "--output_dir,--output-dir", "--lr NUMBER",
                           "vim_tiny_patch2_32", "They differ from the published"})
    CHECK_MESSAGE(out.str().find(part) != std::string::npos, std::string(part));
  std::ostringstream version;
  CHECK(!parse("--version", version));
  CHECK(version.str() == "krait " KRAIT_VERSION "\n");
}

TEST_CASE("options: what a resumed training changes") {
  const TrainOptions before = parse("--lr 0.001 --mixup 0.8");
  CHECK(changed_options(before, to_json(before)) == "");
  const TrainOptions moved = parse("--lr 0.001 --mixup 0.8 --output_dir x --data-path y");
  CHECK(changed_options(moved, to_json(before)) == "");
  const TrainOptions other = parse("--lr 0.002 --depth 3 --mixup 0.8");
  CHECK(changed_options(other, to_json(before)) == "depth null -> 3, lr 0.001 -> 0.002");
  CHECK(changed_options(other, "garbage") == "");
}

TEST_CASE("options: every option of the published trainer works or is refused with a reason") {
  // vim_spec's list: published name and a value.
  for (const char* line : {"--batch-size 64",
                           "--epochs 300",
                           "--unscale-lr",
                           "--input-size 224",
                           "--drop 0.0",
                           "--drop-path 0.1",
                           "--model-ema",
                           "--no-model-ema",
                           "--model-ema --model-ema-decay 0.9",
                           "--opt adamw",
                           "--opt-eps 1e-8",
                           "--opt-betas 0.9 0.999",
                           "--clip-grad 1",
                           "--opt sgd --momentum 0.9",
                           "--opt nesterov",
                           "--opt momentum",
                           "--opt adam",
                           "--weight-decay 0.05",
                           "--sched cosine",
                           "--sched tanh",
                           "--sched step --decay-epochs 30",
                           "--sched step --decay-rate 0.1",
                           "--sched step --dr 0.1",
                           "--lr 5e-4",
                           "--warmup-lr 1e-6",
                           "--min-lr 1e-5",
                           "--warmup-epochs 5",
                           "--color-jitter 0.3",
                           "--aa rand-m9-mstd0.5-inc1",
                           "--smoothing 0.1",
                           "--train-interpolation bicubic",
                           "--repeated-aug",
                           "--no-repeated-aug",
                           "--train-mode",
                           "--no-train-mode",
                           "--ThreeAugment",
                           "--ThreeAugment --src",
                           "--reprob 0.25 --remode pixel --recount 1",
                           "--mixup 0.8 --mixup-prob 1",
                           "--cutmix 1",
                           "--cutmix-minmax 0.2 0.8",
                           "--mixup 0.8 --cutmix 1 --mixup-switch-prob 0.5",
                           "--mixup 0.8 --mixup-mode batch",
                           "--mixup 0.8 --mixup-off-epoch 10",
                           "--color-jitter 0.3 --aa-off-epoch 10",
                           "--bce-loss --smoothing 0",
                           "--cosub",
                           "--distillation-type soft --teacher-path x --distillation-tau 2",
                           "--distillation-type hard --teacher-path x --distillation-alpha 0.3",
                           "--data-path x",
                           "--data-set CIFAR10",
                           "--output_dir x",
                           "--device cpu",
                           "--seed 1",
                           "--resume x",
                           "--resume x --eval",
                           "--finetune x",
                           "--eval-crop-ratio 0.875",
                           "--if_continue_inf",
                           "--no_continue_inf",
                           "--no-pin-mem",
                           "--no_nan2num",
                           "--no_random_cls_token_position",
                           "--no_random_token_rank"})
    CHECK_MESSAGE(error(line) == "no error", std::string(line));
  for (const char* line : {"--gpu 0",
                           "--model-ema-force-cpu",
                           "--lr-noise 0.4 0.9",
                           "--lr-noise-pct 0.67",
                           "--lr-noise-std 1",
                           "--cooldown-epochs 10",
                           "--patience-epochs 10",
                           "--resplit",
                           "--teacher-model regnety_160",
                           "--attn-only",
                           "--inat-category name",
                           "--start_epoch 3",
                           "--distributed",
                           "--dist_url env://",
                           "--local-rank 0",
                           "--if_amp",
                           "--no_amp",
                           "--if_nan2num",
                           "--if_random_cls_token_position",
                           "--if_random_token_rank",
                           "--sched plateau",
                           "--opt nadam",
                           "--opt lookahead_adam",
                           "--data-set CIFAR",
                           "--data-set INAT"}) {
    const std::string why = error(line),
                      name = std::string(line).substr(0, std::string(line).find(' '));
    CHECK_MESSAGE(why.find(" is refused: ") != std::string::npos, why);
    CHECK_MESSAGE(why.find(name) == 0, why);
    CHECK(why.find('\n') == std::string::npos);
  }
}

TEST_CASE("options: what has no effect, or contradicts another, is refused") {
  CHECK(error("--momentum 0.9") == "--momentum has no effect without --opt sgd");
  CHECK(error("--opt sgd --opt-betas 0.9 0.99") ==
        "--opt-betas has no effect without --opt adamw or adam");
  CHECK(error("--model-ema-warmup") == "--model-ema-warmup has no effect without --model-ema");
  CHECK(error("--src") == "--src has no effect without --ThreeAugment");
  CHECK(error("--mixup-off-epoch 3") ==
        "--mixup-off-epoch has no effect without --mixup or --cutmix");
  CHECK(error("--aa-off-epoch 3") ==
        "--aa-off-epoch has no effect without --aa, --ThreeAugment or --color-jitter");
  CHECK(error("--crop none --crop-padding 4") ==
        "--crop-padding has no effect without --crop padded");
  CHECK(error("--decay-rate 0.5") == "--decay-rate has no effect without --sched step");
  CHECK(error("--teacher-path x") == "--teacher-path has no effect without --distillation-type");
  CHECK(error("--distillation-type soft") ==
        "--distillation-type soft needs --teacher-path CHECKPOINT");
  CHECK(error("--bce-loss").find("--bce-loss needs --smoothing 0: ") == 0);
  CHECK(error("--cosub --distillation-type soft --teacher-path x").find("two losses") !=
        std::string::npos);
  CHECK(error("--result ema") == "--result ema needs --model-ema");
  CHECK(error("--ThreeAugment --src --crop resized").find("--src is --crop simple") == 0);
  CHECK(error("--batch-size 512 --accumulate 3") ==
        "--batch-size is 512; it must be a multiple of --accumulate, 3");
  CHECK(error("--mixup 1 --batch-size 6 --accumulate 2").find("each part") != std::string::npos);
  CHECK(error("--crop resized --scale 0.9 0.1") ==
        "--scale is 0.9 to 0.1: the first must be the smaller");
  CHECK(error("--mean 0.5 0.5") == "--mean needs three numbers");
  CHECK(parse("--ThreeAugment --src").crop == "simple");
}

TEST_CASE("recipes: those of the program; options override them; mistakes have a place") {
  const TrainOptions published = parse("--recipe published");
  CHECK(published.bimamba_type == "none");
  CHECK(published.mixer_init == "seed");
  CHECK(published.crop == "published");
  CHECK(published.normalize == "half");
  CHECK(published.batch_size == 64);
  CHECK(published.lr == 5e-4);
  CHECK(published.opt_betas == std::vector<double>{0.9, 0.999});
  CHECK(published.model_ema);
  CHECK(!published.repeated_aug);
  CHECK(published.schedule_unit == "epoch");
  CHECK(published.model_given);
  const TrainOptions changed =
      parse("--lr 1e-3 --recipe published --no-model-ema --epochs 3 --warmup-epochs 1");
  CHECK(changed.lr == 1e-3);
  CHECK(!changed.model_ema);
  CHECK(changed.batch_size == 64);
  // quick is the defaults.
  TrainOptions quick = parse("--recipe quick");
  quick.recipe.clear();
  CHECK(to_json(quick) == to_json(parse("")));
  for (const char* name : {"fast", "best"})
    CHECK(parse(std::string("--recipe ") + name).result == "ema");

  const auto path = std::filesystem::temp_directory_path() /
                    ("krait-recipe-" + std::to_string(getpid()) + ".toml");
  auto with = [&](const std::string& text) {
    std::ofstream(path) << text;
    return error("--recipe " + path.string());
  };
  const std::string file = path.string();
  CHECK(with("# a recipe\nlr = 0.5 # high\n\nflip = false\n") == "no error");
  CHECK(parse("--recipe " + file).lr == 0.5);
  CHECK(!parse("--recipe " + file).flip);
  CHECK(with("# a recipe\nlr = -1\n") ==
        file + ", line 2, key lr: --lr is -1; it must be 0 to 1000");
  CHECK(with("\nlearning = 1\n")
            .find(file + ", line 2, key learning: there is no option "
                         "--learning. The nearest names: ") == 0);
  CHECK(with("gpu = 6\n").find(file + ", line 1, key gpu: --gpu is refused: ") == 0);
  CHECK(with("opt-betas = [0.9]\n") ==
        file + ", line 1, key opt-betas: --opt-betas needs two numbers");
  CHECK(with("recipe = \"fast\"\n").find("line 1, key recipe: ") != std::string::npos);
  CHECK(with("[data]\nflip = true\n").find("line 1") != std::string::npos);
  CHECK(with("some words\n").find("line 1: 'some words' is not 'key = value'") !=
        std::string::npos);
  std::filesystem::remove(path);
  CHECK(error("--recipe fats") ==
        "--recipe: there is no recipe and no file 'fats'. The nearest names: fast, best, quick");
}
