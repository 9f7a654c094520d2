// The comparison of runs: its table, what differs, its page, and what mistakes are called.
#include <doctest/doctest.h>
#include <fstream>
#include <unistd.h>

#include "kernels/common/error.h"
#include "tools/compare_runs.h"

using namespace krait;

namespace {

struct TwoRuns {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("krait-compare-test-" + std::to_string(getpid()));
  TwoRuns() {
    put("a",
        R"({"model": "m", "epochs": 2, "options": {"lr": 0.001, "flip": true, "output_dir": "a"}})",
        "{\"epoch\": 0, \"test_acc1\": 61.5, \"seconds\": 30, \"images_per_second\": 100}\n"
        "{\"epoch\": 1, \"test_acc1\": 60, \"seconds\": 3725, \"images_per_second\": 300}\n");
    put("b",
        R"({"model": "m", "epochs": 5, "options": {"lr": 0.002, "flip": true, "mixup": 0.8, "drop": 0}, "defaults": {"mixup": 0, "drop": 0}})",
        "{\"epoch\": 0, \"test_acc1\": 70.25, \"test_acc1_ema\": 71, \"seconds\": 59.6}\n");
  }
  ~TwoRuns() { std::filesystem::remove_all(path); }
  void put(const std::string& name, const std::string& run, const std::string& log) const {
    std::filesystem::create_directories(path / name);
    std::ofstream(path / name / "run.json") << run;
    std::ofstream(path / name / "log.txt") << log;
  }
  std::string at(const std::string& name) const { return (path / name).string(); }
};

int exit_code(const std::string& arguments) {
  const std::string command =
      std::string(KRAIT_BIN_DIR) + "/compare " + arguments + " > /dev/null 2>&1";
  return WEXITSTATUS(std::system(command.c_str()));
}

}  // namespace

TEST_CASE("compare: a row for each run, and what differs between them") {
  TwoRuns folder;
  const auto runs = read_runs({folder.at("a"), folder.at("b") + "/"});
  const Table results = results_of(runs);
  REQUIRE(results.size() == 3);
  CHECK(results[1] ==
        std::vector<std::string>{"a", "60.00", "61.50 (1)", "-", "-", "2/2", "1:02:05", "300"});
  CHECK(results[2] == std::vector<std::string>{"b", "70.25", "70.25 (1)", "71.00", "71.00 (1)",
                                               "1/5", "1:00", "-"});
  CHECK(differences_of(runs) ==
        Table{{"option", "a", "b"}, {"--lr", "0.001", "0.002"}, {"--mixup", "-", "0.8"}});
  CHECK(as_text({{"run", "x"}, {"longer", "1"}}) == "run     x\nlonger  1\n");
  const std::string page = comparison_page(runs);
  for (const char* part :
       {"2 runs compared", "70.25 (1)", "--mixup", "Test accuracy, top-1, over time"})
    CHECK_MESSAGE(page.find(part) != std::string::npos, part);
}
TEST_CASE("compare: folders of one name are told apart by their paths") {
  TwoRuns folder;
  folder.put("other/a", "{}", "{\"epoch\": 0}\n");
  const auto runs = read_runs({folder.at("a"), folder.at("other/a")});
  CHECK(runs[0].name == folder.at("a"));
  CHECK(runs[1].name == folder.at("other/a"));
}
TEST_CASE("compare: a bad folder is one line and exit code 2; else a page is written") {
  TwoRuns folder;
  std::filesystem::create_directories(folder.path / "empty");
  CHECK_THROWS_WITH_AS(read_runs({folder.at("none")}), doctest::Contains("is not a folder"),
                       InputError);
  CHECK_THROWS_WITH_AS(read_runs({folder.at("empty")}), doctest::Contains("holds no run"),
                       InputError);
  CHECK(exit_code(folder.at("none")) == 2);
  CHECK(exit_code("") == 2);
  CHECK(exit_code("--nonsense " + folder.at("a")) == 2);
  CHECK(exit_code(folder.at("a") + " --html " + folder.at("none/x.html")) == 2);
  CHECK(exit_code(folder.at("a") + " " + folder.at("b") + " --html " + folder.at("x.html")) == 0);
  CHECK(std::filesystem::file_size(folder.path / "x.html") > 4000);
}
