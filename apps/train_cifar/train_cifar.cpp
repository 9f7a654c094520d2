// train_cifar: trains, evaluates and resumes a Vision Mamba. Start reading here:
// this file -> trainer.cpp (one step) -> models/vim/vim.cpp -> engine/ops/norm.cpp ->
// kernels/norm/reference.cpp -> kernels/norm/*.cu -> engine/tape.h.
#include <fmt/format.h>
#include <new>

#include "apps/train_cifar/interrupt.h"
#include "apps/train_cifar/out_of_memory.h"
#include "apps/train_cifar/trainer.h"

namespace {

int run(int argc, char** argv) {
  using namespace krait;
  std::optional<TrainOptions> options = parse_options(argc, argv);
  if (!options) return 0;  // --help
  options->command = shell_line(argc, argv);
  watch_for_interrupt();
  Trainer trainer(*options);
  trainer.print_summary();
  if (options->eval) {
    const Evaluation e = trainer.evaluate();
    fmt::print("* Acc@1 {:.3f} Acc@5 {:.3f} loss {:.4f}\n", e.acc1, e.acc5, e.loss);
    if (const auto a = trainer.evaluate_average())
      fmt::print("* average of the weights: Acc@1 {:.3f} Acc@5 {:.3f} loss {:.4f}\n", a->acc1,
                 a->acc5, a->loss);
    return 0;
  }
  trainer.train();
  if (trainer.interrupted()) {
    fmt::print("interrupted{}\n",
               options->output_dir.empty()
                   ? "; nothing was saved (no --output_dir)"
                   : ": go on with --resume " + options->output_dir + "/checkpoint.safetensors");
    return 130;
  }
  fmt::print("Max accuracy: {:.2f}% ({}, epoch {})\n", trainer.best_acc1(),
             options->result == "ema" ? "average of the weights" : "model",
             trainer.best_epoch() + 1);
  if (!options->output_dir.empty())
    fmt::print("log and checkpoints are in {}\n", options->output_dir);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  krait::watch_for_lost_errors("train_cifar");
  try {
    return run(argc, argv);
  } catch (const krait::InputError& e) {  // what the user gave is wrong
    fmt::print(stderr, "train_cifar: {}\n", e.what());
    return 2;
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "train_cifar: out of memory\n");
    return 1;
  } catch (const std::exception& e) {
    fmt::print(stderr, "train_cifar: {}\n", e.what());
    return 1;
  }
}
