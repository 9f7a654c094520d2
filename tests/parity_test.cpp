// The golden bundles through the parity tool, as a user runs it: ops, models with every gradient,
// trainings of 20 steps, the schedule.
#include <cstdlib>
#include <doctest/doctest.h>
#include <string>

#include "kernels/common/kernel.h"

namespace {

int parity(const std::string& arguments) {
  return std::system((KRAIT_BIN_DIR "/parity --quiet " + arguments + " > /dev/null").c_str());
}
const std::string golden = KRAIT_SOURCE_DIR "/tests/golden";

}  // namespace

TEST_CASE("golden bundles: float32 on the CPU") {
  CHECK(parity(golden + " --device cpu") == 0);
}
TEST_CASE("golden bundles: float64 on the CPU agrees to the rounding of the bundles") {
  // 2e-6, not 1e-7: the bundles' results are float32, and sums of many of them are compared.
  CHECK(parity(golden + " --device cpu --precision fp64 --tolerance 2e-6") == 0);
}
TEST_CASE("golden bundles: a tolerance nothing can meet is noticed") {
  CHECK(parity(golden + "/op_silu.safetensors --device cpu --tolerance 1e-12") != 0);
}
TEST_CASE("golden bundles: float32 and bf16 on the GPU") {
  if (!krait::available(krait::Backend::cuda)) {
    MESSAGE("skipped: no GPU here");
    return;
  }
  CHECK(parity(golden + " --device cuda") == 0);
  CHECK(parity(golden + " --device cuda --precision bf16") == 0);
}
