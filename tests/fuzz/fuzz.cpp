// A fuzzer of one target, by libFuzzer: KRAIT_FUZZ_TARGET is its name.
#include "tests/fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  krait::fuzz::check(krait::fuzz::KRAIT_FUZZ_TARGET, std::as_bytes(std::span(data, size)));
  return 0;
}
