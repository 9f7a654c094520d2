// walkthrough --resume CHECKPOINT: follows one picture through a trained Vision Mamba and back,
// stage by stage: equation, shapes, numbers, the line of code, and a check by plain loops.
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fstream>
#include <omp.h>
#include <unistd.h>

#include "tools/walkthrough/text.h"

namespace krait::walk {
namespace {

int walkthrough(int argc, char** argv) {
  Choice choice;
  std::vector<std::string> names;
  std::string html, known;
  int64_t token = -1, channel = -1;
  for (const StageKind& k : stage_kinds()) known += cat(known.empty() ? "" : ", ", k.name);
  CLI::App app("Follows one picture through a trained Vision Mamba and back, stage by stage.",
               "walkthrough");
  app.footer(
      "Exit codes: 0 every stage agrees with the plain loops; 1 one does not; 2 a mistake in the "
      "options,\nor a model that is not shown.");
  app.option_defaults()->always_capture_default();
  app.add_option("--resume", choice.checkpoint,
                 "a checkpoint of train_cifar, or weights as .pth or .safetensors")
      ->required();
  app.add_option("--weights", choice.weights, "ema: their average")
      ->check(CLI::IsMember({"model", "ema"}));
  auto* image = app.add_option("--image", choice.image, "a picture (PNG, JPEG, BMP)");
  auto* data =
      app.add_option("--data-path", choice.data_path,
                     "CIFAR-10's folder or archive (CIFAR-100's for a model of 100 classes); "
                     "without it and --image a drawn picture (SYNTHETIC) is shown");
  auto* index = app.add_option("--index", choice.index, "which picture of the test set");
  app.add_option("--label", choice.label,
                 "the class the loss is for, by name or number; without it the test set's, for "
                 "--image the model's answer");
  app.add_option("--layer", choice.layer, "the block that is shown");
  app.add_option("--token", token, "whose numbers are shown; -1: the middle one");
  app.add_option("--channel", channel,
                 "of the mixer; -1: the one that the forward scan moves most");
  app.add_option("--stage", names, cat("these alone: ", known))->delimiter(',');
  app.add_option("--html", html, "write a page with pictures to this file instead");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {  // --help
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    throw InputError(e.what());
  }
  KRAIT_INPUT(image->count() == 0 || (data->count() == 0 && index->count() == 0),
              "--image has no --data-path or --index: either a file or a test set's picture");
  const auto wanted = [&](const std::string& name) {
    for (const StageKind& k : stage_kinds())
      if (name == k.name) return true;
    return false;
  };
  for (const std::string& name : names)
    KRAIT_INPUT(wanted(name), "there is no stage '", name, "'; there are ", known);
  omp_set_num_threads(1);  // for one picture, waiting for another thread takes the longest
  const Subject subject = load_subject(choice);
  View view = default_view(subject.trace);
  if (token != -1) view.token = token;
  if (channel != -1) view.channel = channel;
  check_view(subject.trace, view);
  const std::vector<Stage> stages = make_stages(subject, view, names);
  if (!html.empty()) {
    std::ofstream file(html, std::ios::binary);
    file << page_of(subject, view, stages) << std::flush;
    KRAIT_INPUT(file, html, " cannot be written");
  } else {
    const bool colour = isatty(STDOUT_FILENO) && !std::getenv("NO_COLOR");
    if (names.empty()) fmt::print("{}", introduction(subject, view));
    for (const Stage& s : stages) fmt::print("{}", text_of(s, colour));
    fmt::print("\n");
  }
  fmt::print("{}\n", summary(stages));
  return all_agree(stages) ? 0 : 1;
}

}  // namespace
}  // namespace krait::walk

int main(int argc, char** argv) try {
  return krait::walk::walkthrough(argc, argv);
} catch (const krait::InputError& e) {
  fmt::print(stderr, "walkthrough: {}\n", e.what());
  return 2;
} catch (const std::exception& e) {
  fmt::print(stderr, "walkthrough: {}\n", e.what());
  return 1;
}
