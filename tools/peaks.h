// What the device itself reaches, measured by loops that do one thing only, and what follows for a
// kernel: its floor, the least time that its work can take on this device.
#pragma once

#include <map>

#include "kernels/common/case.h"

namespace krait {

struct Rates {              // per second; 0: not known
  double bytes = 0;         // read and written by a large copy
  double flops = 0;         // of f32 multiply-adds, or of a matrix product for Cost::matrix
  double exps = 0;          // exponentials
  double instructions = 0;  // one lane each
};

struct Floor {
  double seconds = 0;   // 0: nothing is known of the kernel's cost
  const char* by = "";  // what decides it: memory, arithmetic, exp, issue
};
Floor floor_of(const Cost& cost, const Rates& rates);

// Each rate is measured when it is first asked for.
class Peaks {
 public:
  double copy(Backend backend);
  double matmul(Backend backend, DType dtype);  // a large product by the default row
  double multiply_adds(Backend backend);
  double exps(Backend backend);
  double instructions(Backend backend);  // 0 on a CPU
  // Those that `cost` has use for. All arithmetic but products of matrices is f32.
  Rates rates(const Cost& cost, Backend backend, DType dtype);
  std::string text() const;  // those measured so far

 private:
  std::map<Backend, double> copy_, multiply_adds_, exps_;
  std::map<std::pair<Backend, DType>, double> matmul_;
};

#if KRAIT_CUDA
// peaks.cu. The last two return how many operations a launch does.
void launch_copy(void* to, const void* from, size_t bytes, unsigned blocks, Stream stream);
double launch_multiply_adds(const Device& device, Stream stream);
double launch_exps(const Device& device, Stream stream);
// Keeps the stream busy for so long; 0: an empty kernel.
void launch_wait(double seconds, Stream stream);
#endif

}  // namespace krait
