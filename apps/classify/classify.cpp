// classify CHECKPOINT PICTURES...: what pictures show, by a model that train_cifar has trained.
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fstream>
#include <thread>

#include "apps/classify/run.h"

namespace krait {
namespace {

constexpr int some_unreadable = 3;  // the exit code for that

std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) lines.push_back(line);
  }
  KRAIT_INPUT(!lines.empty(), "no class names can be read in ", path, " (one a line)");
  return lines;
}

int classify(int argc, char** argv) {
  std::string checkpoint, format = "text", names;
  std::vector<std::string> paths, lists;
  ClassifierOptions model;
  ClassifyOptions o;
  o.threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  bool measure = false;
  CLI::App app("Says what pictures (PNG, JPEG, BMP) show, by a trained model.", "classify");
  app.set_version_flag("--version", "krait " KRAIT_VERSION, "the version");
  app.footer(
      "Exit codes: 0 all pictures were classified; 3 some could not be read, they are named on "
      "stderr; 2 a mistake\nin the options, the checkpoint or a list; 1 anything else.");
  app.option_defaults()->always_capture_default();
  app.add_option("CHECKPOINT", checkpoint, "of train_cifar, or weights as .pth or .safetensors")
      ->required();
  app.add_option("PICTURES", paths, "files, or folders with all the pictures in them");
  app.add_option("--list", lists, "a file with a path a line; -: standard input; may be repeated")
      ->take_all()
      ->expected(1)
      ->allow_extra_args(false)
      ->default_str("");
  const auto* top = app.add_option("--top", o.top, "so many of the most probable classes")
                        ->check(CLI::Range(1, 1000000));
  const auto* given_format =
      app.add_option("--format", format, "text; jsonl: a JSON object a line; csv")
          ->check(CLI::IsMember({"text", "jsonl", "csv"}));
  app.add_flag("--benchmark", measure,
               "measure how long the model takes, with these pictures or with noise");
  app.add_option("--class-names", names, "a file with a name a line, instead of the checkpoint's");
  app.add_option("--batch-size", model.batch, "pictures that go through the model at once")
      ->check(CLI::Range(1, 65536));
  const auto* threads =
      app.add_option("--threads", o.threads, "that decode pictures")->check(CLI::Range(1, 1024));
  app.add_option("--device", model.device, "auto: a GPU if there is one")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  app.add_option("--precision", model.precision, "auto: bf16 on a GPU, fp32 on a CPU")
      ->check(CLI::IsMember({"auto", "bf16", "fp32"}));
  app.add_option("--weights", model.weights,
                 "ema: their average; auto: what the training had as its result (--result)")
      ->check(CLI::IsMember({"auto", "model", "ema"}));
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {  // --help, --version
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    throw InputError(e.what());
  }
  o.format = format == "jsonl" ? Format::jsonl : format == "csv" ? Format::csv : Format::text;
  KRAIT_INPUT(measure || !paths.empty() || !lists.empty(),
              "no pictures: name files or folders, or --list FILE");
  for (const CLI::Option* option : {top, given_format, threads})
    KRAIT_INPUT(!measure || option->count() == 0, option->get_name(),
                " has no effect with --benchmark");
  check_can_read_pictures();
  if (!names.empty()) model.class_names = lines_of(names);
  Classifier classifier(checkpoint, model);
  Inputs inputs(paths, lists, std::cin);
  if (measure) {
    fmt::print("{}\n", classifier.summary());
    benchmark(classifier, inputs, stdout);
    return 0;
  }
  return classify_all(classifier, inputs, o, stdout) ? some_unreadable : 0;
}

}  // namespace
}  // namespace krait

int main(int argc, char** argv) try {
  return krait::classify(argc, argv);
} catch (const krait::InputError& e) {
  fmt::print(stderr, "classify: {}\n", e.what());
  return 2;
} catch (const std::exception& e) {
  fmt::print(stderr, "classify: {}\n", e.what());
  return 1;
}
