// What a kernel is, to the rest of the program: a parameter struct, and a table of variants.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>

#include "kernels/common/dtype.h"
#include "kernels/common/error.h"

struct CUstream_st;  // cudaStream_t is CUstream_st*

namespace krait {

enum class Backend : uint8_t { cpu, cuda };

// Where work is queued. Null on the CPU, where a kernel runs at once.
using Stream = CUstream_st*;

// What a variant may ask about the machine.
struct Device {
  Backend backend = Backend::cpu;
  int index = 0;
  int sm = 0;  // compute capability, 90 for H100 and H200; 0 on the CPU
  int multiprocessors = 0;
  size_t l2_bytes = 0;
  size_t total_bytes = 0;  // memory of the device; 0: not asked
  char name[64] = "CPU";
};

class Libraries;  // cuBLASLt and cuDNN handles with their plan caches: kernels/common/libraries.h

// By kernel, the row that was asked for by name.
using ForcedRows = std::map<std::string, std::string, std::less<>>;
// "" if none was.
inline std::string_view forced_row(const ForcedRows& rows, std::string_view kernel) {
  const auto found = rows.find(kernel);
  return found == rows.end() ? std::string_view() : found->second;
}

// What a kernel is given besides its parameters.
struct Launch {
  const Device& device;
  Stream stream = nullptr;
  void* scratch = nullptr;  // as many bytes as the variant asked for
  Libraries* libraries = nullptr;
  const ForcedRows* forced = nullptr;  // for kernels that are parts of this one; null: none
};

// One way to compute kernel P. The first row that fits is the default; the last row is the CPU
// reference, which every other row is checked against.
template <class P>
struct Variant {
  const char* name;  // says the idea: "row_per_warp", not "kernel6"
  Backend backend;
  void (*run)(const P&, const Launch&);
  bool (*supports)(const P&, const Device&) = nullptr;  // null: always
  size_t (*scratch_bytes)(const P&) = nullptr;          // null: none
};

// The variants of P. Specialised once per kernel, in kernels/<kernel>/variants.cpp.
template <class P>
std::span<const Variant<P>> variants();

bool available(Backend backend);      // is there such a device on this machine, in this build?
Device find_device(Backend backend);  // throws InputError when there is none
void check_launched(const Device& device, Stream stream, const char* kernel, const char* variant);

// Runs one row. The one place for launch errors and for finding the guilty launch (KRAIT_SYNC=1).
template <class P>
void run(const Variant<P>& v, const P& p, const Launch& launch) {
  v.run(p, launch);
  check_launched(launch.device, launch.stream, P::name, v.name);
}

// The row to run: `forced` if it names one, else the first that fits. Null if none fits.
template <class P>
const Variant<P>* choose(const P& p, const Device& device, std::string_view forced = {}) {
  for (const Variant<P>& v : variants<P>()) {
    if (v.backend != device.backend) continue;
    if (!forced.empty() && forced != v.name) continue;
    if (v.supports && !v.supports(p, device)) continue;
    return &v;
  }
  return nullptr;
}

// Where choose() found none.
[[noreturn]] inline void no_row_fits(std::string_view kernel, std::string_view forced) {
  throw Error(cat("no variant of ", kernel, " fits",
                  forced.empty() ? "" : cat(" (", forced, " was asked for)")));
}

}  // namespace krait
