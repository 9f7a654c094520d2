// The figures in the tree are what tools/figures.cpp draws, and the one that counts bytes counts
// right.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <regex>
#include <unistd.h>

#include "tests/vim_model.h"

namespace fs = std::filesystem;
using namespace krait;

namespace {

std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Bytes that a training step of two pictures needs, in bf16 on the CPU.
double step_bytes(int depth) {
  VimConfig c = vim_config("vim_tiny_patch4_32");
  c.depth = depth;
  c.num_classes = 10;
  Model m(c, DType::bf16, true);
  return static_cast<double>(m.ctx.measure([&] { m.gradients(); }));
}

}  // namespace

TEST_CASE("figures: those in the tree are the tool's") {
  const fs::path root = KRAIT_SOURCE_DIR;
  const fs::path out =
      fs::temp_directory_path() / ("krait_figures_test_" + std::to_string(getpid()));
  const std::string command = KRAIT_BIN_DIR "/figures " + out.string() + " >/dev/null";
  REQUIRE(std::system(command.c_str()) == 0);
  int drawn = 0, kept = 0;
  for (const auto& file : fs::recursive_directory_iterator(out))
    if (file.is_regular_file()) {
      const fs::path name = file.path().lexically_relative(out);
      // Not equal: build/bin/figures .
      CHECK_MESSAGE(contents(file.path()) == contents(root / name), name.string());
      ++drawn;
    }
  for (const char* folder : {"apps", "engine", "kernels", "models", "tools"})
    for (const auto& file : fs::recursive_directory_iterator(root / folder))
      kept += file.path().extension() == ".svg";
  CHECK(drawn == 5);
  CHECK(kept == drawn);
  fs::remove_all(out);
}

TEST_CASE("figures: bytes kept of a token and layer are those of a step") {
  const std::string svg = contents(KRAIT_SOURCE_DIR "/engine/step_memory.svg");
  std::smatch sum;
  REQUIRE(std::regex_search(svg, sum, std::regex("Together (\\d+) bytes")));
  const double tokens = 2 * 64, layer = (step_bytes(5) - step_bytes(3)) / 2 / tokens;
  const double delta = 2 * 2 * 384, rstd = 4;  // delta: kept by the CPU's kernels alone, both sides
  CHECK(layer - delta - rstd == doctest::Approx(std::stod(sum[1])).epsilon(0.005));
}
