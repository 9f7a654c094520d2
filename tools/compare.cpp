// compare: puts several trainings side by side, in the terminal and as a page.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "kernels/common/error.h"
#include "tools/compare_runs.h"

namespace {

int run(int argc, char** argv) {
  CLI::App app("Compares trainings by what they left in their output folders.", "compare");
  std::vector<std::string> folders;
  std::string html;
  app.add_option("RUN_FOLDER", folders, "output folders of train_cifar")->required();
  app.add_option("--html", html, "write a page with the curves over each other");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    throw krait::InputError(e.what());
  }
  const std::vector<krait::Run> runs = krait::read_runs(folders);
  fmt::print("{}", krait::as_text(krait::results_of(runs)));
  const krait::Table differences = krait::differences_of(runs);
  if (differences.size() > 1) fmt::print("\n{}", krait::as_text(differences));
  if (html.empty()) return 0;
  krait::write_whole(html, krait::comparison_page(runs));
  fmt::print("\nthe curves are in {}\n", html);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const krait::InputError& e) {
    fmt::print(stderr, "compare: {}\n", e.what());
    return 2;
  } catch (const std::exception& e) {
    fmt::print(stderr, "compare: {}\n", e.what());
    return 1;
  }
}
