// kernel_lab as a user runs it: what it prints, saves and writes, and what mistakes are called.
#include <cstdio>
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace {

struct Ran {
  int code;
  std::string text;  // stdout and stderr
  bool says(const std::string& part) const { return text.find(part) != std::string::npos; }
};
Ran kernel_lab(const std::string& arguments) {
  FILE* pipe = popen((KRAIT_BIN_DIR "/kernel_lab " + arguments + " 2>&1").c_str(), "r");
  REQUIRE(pipe);
  Ran r;
  char part[4096];
  while (size_t n = fread(part, 1, sizeof part, pipe)) r.text.append(part, n);
  r.code = WEXITSTATUS(pclose(pipe));
  return r;
}
std::string contents(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Folder {
  std::filesystem::path path = std::filesystem::temp_directory_path() /
                               ("krait_kernel_lab_test_" + std::to_string(getpid()));
  Folder() {
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(path / "kernels/fill");
  }
  ~Folder() { std::filesystem::remove_all(path); }
};

}  // namespace

TEST_CASE("kernel_lab lists and verifies") {
  const Ran list = kernel_lab("list --all");
  CHECK(list.code == 0);
  CHECK(list.says("selective_scan_bwd"));
  CHECK(list.says("B=512 L=64 E=384 N=16"));
  const Ran verify = kernel_lab("verify -k fill --device cpu");
  CHECK(verify.code == 0);
  CHECK(verify.says("4 passed, 0 failed, 0 skipped"));
}
TEST_CASE("kernel_lab measures, saves, compares, and writes the page") {
  const Folder folder;
  const std::string file = folder.path / "times.json",
                    bench = "bench -k fill --device cpu -s '23 f32' ";
  const auto page = folder.path / "kernels/fill/fill.md";
  std::ofstream(page) << "before\n<!-- bench -->\nan older table\n<!-- /bench -->\nafter\n";
  const Ran first =
      kernel_lab(bench + "--save " + file + " --markdown --source " + folder.path.string());
  CHECK(first.code == 0);
  CHECK(first.says("1 measured, 0 refused"));
  const std::string text = contents(page);
  CHECK(text.starts_with("before\n<!-- bench -->\n"));
  CHECK(text.ends_with("<!-- /bench -->\nafter\n"));
  CHECK(text.find("| fill | rows=37 width=19 of 23 f32 | reference |") != std::string::npos);
  CHECK(text.find("copy") != std::string::npos);  // the peak
  CHECK(text.find("an older table") == std::string::npos);
  const Ran second = kernel_lab(bench + "--baseline " + file);
  CHECK(second.code == 0);
  CHECK(second.says("change"));
  CHECK_FALSE(second.says(" new"));  // every row has its old time
}
TEST_CASE("kernel_lab sweeps over all combinations") {
  const Ran r = kernel_lab(
      "sweep -k matmul --device cpu -v reference -s f32 --shape 'm=4|5,n=3,k=2' --no-verify");
  CHECK(r.code == 0);
  CHECK(r.says("m=4 n=3 k=2 f32"));
  CHECK(r.says("m=5 n=3 k=2 f32"));
  CHECK(r.says("2 measured"));
}
TEST_CASE("kernel_lab measures steps, saves, compares, and writes the page") {
  const Folder folder;
  const std::string file = folder.path / "steps.json", page = folder.path / "page.md",
                    step =
                        "step --model vim_micro_patch4_32 --batch 1,2 --image-size 16 --device "
                        "cpu --kernel rope=reference ";
  std::ofstream(page) << "before\n<!-- step -->\n<!-- /step -->\nafter\n";
  const Ran first = kernel_lab(step + "--save " + file + " --markdown " + page);
  CHECK(first.code == 0);
  CHECK(first.says("selective_scan_bwd"));
  CHECK(first.says("(between kernels)"));
  const std::string text = contents(page);
  CHECK(text.starts_with("before\n<!-- step -->\n"));
  CHECK(text.ends_with("<!-- /step -->\nafter\n"));
  for (const char* row : {" 1 | 16 | train | fp32 ", " 1 | 16 | infer | fp32 ",
                          " 2 | 16 | train | fp32 ", " 2 | 16 | infer | fp32 "})
    CHECK(text.find(std::string("| `vim_micro_patch4_32` | 16 |") + row) != std::string::npos);
  const Ran second = kernel_lab(step + "--mode infer --baseline " + file);
  CHECK(second.code == 0);
  CHECK(second.says("change"));
  CHECK_FALSE(second.says(" new"));
  CHECK_FALSE(second.says(" train "));
}
TEST_CASE("kernel_lab names mistakes in one line") {
  struct {
    const char *arguments, *message;
  } const mistakes[] = {
      {"bench -k conv1d --shape B=0", "B is from 1 to 65536"},
      {"bench -k conv1d --shape N=16", "conv1d has no N; it takes B, L, E, K, sides"},
      {"bench -k norm --shape B=2", "no kernel called 'norm' takes sizes"},
      {"bench -k conv1d --shape 512", "'512' is not a letter and a number"},
      {"bench -k conv1d --shape B=2,B=3", "B is given twice"},
      {"bench -k conv1d --shape 'B=2|x'", "sweep takes several"},
      {"sweep -k conv1d --shape 'B=2|x'", "'x' in 'B=2|x' is not a number"},
      {"sweep -k conv1d", "sweep needs --shape"},
      {"bench --baseline /nowhere.json", "cannot read /nowhere.json"},
      {"bench --save /nowhere/x.json", "cannot write /nowhere/x.json"},
      {"bench --device gpu", "--device"},
      {"step --model vim_huge", "vim_huge"},
      {"step --batch 0", "--batch"},
      {"step --batch 1,x", "x"},
      {"step --mode eval", "--mode"},
      {"step --device cpu --precision tf32", "tf32 needs a GPU"},
      {"step --kernel rope", "NAME=VARIANT"},
      {"step --kernel rope=fast", "rope has no variant 'fast'"},
      {"step --image-size 4", "--image-size"},
      {"step --baseline /nowhere.json", "cannot read /nowhere.json"},
  };
  for (const auto& m : mistakes) {
    const Ran r = kernel_lab(m.arguments);
    INFO(m.arguments, ": ", r.text);
    CHECK(r.code == 2);
    CHECK(r.says(m.message));
  }
}
