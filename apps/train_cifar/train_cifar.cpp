// train_cifar: trains, evaluates and resumes a Vision Mamba. Start reading here:
// this file -> trainer.cpp (one step) -> models/vim/vim.cpp -> engine/ops/norm.cpp ->
// kernels/norm/reference.cpp -> kernels/norm/*.cu -> engine/tape.h.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fmt/format.h>
#include <new>
#include <thread>

#include "apps/train_cifar/interrupt.h"
#include "apps/train_cifar/out_of_memory.h"
#include "apps/train_cifar/trainer.h"
#include "engine/parallel/launch.h"

namespace {

using namespace krait;

int run(int argc, char** argv, Ranks& ranks, std::unique_ptr<Trainer>& made) {
  std::optional<TrainOptions> options = parse_options(argc, argv);
  if (!options) return 0;  // --help
  options->command = shell_line(argc, argv);
  watch_for_interrupt(ranks.rank() == 0);
  made = std::make_unique<Trainer>(*options, ranks);
  Trainer& trainer = *made;
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

// Says what went wrong, once: what happens to one rank mostly happens to all, and rank 0 speaks
// first and ends the others.
int failed(Ranks* ranks, const char* what, int status) {
  if (!ranks || ranks->size() == 1) {
    fmt::print(stderr, "train_cifar: {}\n", what);
    return status;
  }
  std::string who;
  if (const int rank = ranks->rank(); rank > 0) {
    who = fmt::format("rank {}: ", rank);
    std::this_thread::sleep_for(std::chrono::milliseconds(2000 + 100 * std::min(rank, 80)));
  }
  fmt::print(stderr, "train_cifar: {}{}\n", who, what);
  std::fflush(nullptr);
  ranks->end_all(status);
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  krait::watch_for_lost_errors("train_cifar");
  std::unique_ptr<krait::Ranks> ranks;
  std::unique_ptr<krait::Trainer> trainer;  // out here: after an error it may wait for lost ranks
  try {
    ranks = krait::start_ranks();
    // Rank 0 speaks for all; the others say only what goes wrong.
    if (ranks->rank() > 0 && !std::freopen("/dev/null", "w", stdout)) std::perror("/dev/null");
    return run(argc, argv, *ranks, trainer);
  } catch (const krait::InputError& e) {  // what the user gave is wrong
    return failed(ranks.get(), e.what(), 2);
  } catch (const std::bad_alloc&) {
    return failed(ranks.get(), "out of memory", 1);
  } catch (const std::exception& e) {
    return failed(ranks.get(), e.what(), 1);
  }
}
