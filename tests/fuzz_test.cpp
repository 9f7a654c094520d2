// The fuzzers' seed corpus, once through every reader: what clang is not needed for.
#include "tests/files.h"
#include "tests/fuzz/targets.h"

using namespace krait;

TEST_CASE("fuzz: the seed corpus, whole and with bytes changed") {
  for (const auto& [name, run] : fuzz::targets) {
    int files = 0;
    for (const auto& entry :
         std::filesystem::directory_iterator(cat(KRAIT_SOURCE_DIR "/tests/fuzz/corpus/", name))) {
      const std::string path = entry.path().string();
      CAPTURE(path);
      const Bytes whole = read_file(path);
      CHECK_NOTHROW(fuzz::check(run, whole));
      ++files;
      if (run == fuzz::cifar) continue;  // 30 MB each
      for (size_t at = 0; at < whole.size(); at += 1 + whole.size() / 100) {
        Bytes changed = whole;
        changed[at] = ~changed[at];
        CHECK_NOTHROW(fuzz::check(run, changed));
      }
    }
    CHECK(files >= 3);
  }
}
