// The command line of train_cifar: defaults, ranges, and what mistakes are called.
#include "apps/train_cifar/options.h"

#include <doctest/doctest.h>
#include <sstream>

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
