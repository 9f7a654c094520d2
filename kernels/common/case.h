// A kernel at one size: makes its inputs, runs any variant, knows what the work costs.
// Tests check every variant of every case; tools/kernel_lab verifies and measures them.
//
//   list.push_back(make_case<AddNormFwd>({.size = cat("rows=", rows, " D=", D), .dtype = t},
//                                        [=](CaseMemory& m) {
//     return AddNormFwd{.dtype = m.dtype(), .rows = rows, .D = D, .x = m.in("x", rows * D, -2, 2),
//                       .y = m.out("y", rows * D), ...};
//   }));
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/common/kernel.h"
#include "kernels/common/libraries.h"
#include "kernels/common/step_state.h"
#include "kernels/common/user_sizes.h"

namespace krait {

// The memory a case runs on. To check a variant, the same builder is run three times: with
// everything stored as f64 (the exact answer), with the reference in the case's own type, and for
// the variant under test. Inputs are a hash of (position of the buffer, index), rounded to the
// CASE's type each time, so all three start from identical numbers. Outputs start as NaN. Guard
// words stand around every buffer.
class CaseMemory {
 public:
  // Without memory: the builder gets addresses that nothing may read. This says at once how many
  // bytes a case needs, and which variants take it.
  enum class Mode { filled, addresses_only };
  CaseMemory(Backend backend, DType case_dtype, DType stored, Mode mode = Mode::filled)
      : backend_(backend), case_dtype_(case_dtype), stored_(stored), mode_(mode) {}
  // Every buffer holds what `once`'s of the same place holds (on the CPU, of the same types), as
  // often as it has room for it. `once` must stay.
  CaseMemory(Backend backend, const CaseMemory& once)
      : backend_(backend), case_dtype_(once.case_dtype_), stored_(once.stored_), once_(&once) {}

  DType dtype() const { return stored_; }               // of activations in this run
  DType accum_dtype() const { return accum(stored_); }  // of statistics and small parameters
  Backend backend() const { return backend_; }

  // Uniform values in [low, high).
  void* in(const char* name, int64_t count, double low, double high);
  void* in_accum(const char* name, int64_t count, double low, double high);
  void* in_i32(const char* name, int64_t count, int32_t below);  // uniform in 0 .. below - 1
  void* in_u8(const char* name, int64_t count);
  // Written by the kernel, compared with the reference.
  void* out(const char* name, int64_t count);
  void* out_accum(const char* name, int64_t count);
  void* out_i32(const char* name, int64_t count);
  void* out_u8(const char* name, int64_t count);
  // Read and written (something is added to it), compared too.
  void* inout(const char* name, int64_t count, double low, double high);
  void* inout_accum(const char* name, int64_t count, double low, double high);
  // An input that a host function computes from others (of this run's type); not compared. It gets
  // memory for the result and a host CaseMemory, into which copy_of brings device data.
  void* computed(int64_t count, const std::function<void(void*, CaseMemory&)>& compute) {
    return compute_as(stored_, count, compute);
  }
  void* computed_accum(int64_t count, const std::function<void(void*, CaseMemory&)>& compute) {
    return compute_as(accum(stored_), count, compute);
  }
  void* copy_of(const void* from, int64_t count);
  void* copy_of_accum(const void* from, int64_t count);
  // Any struct, copied to the device; not compared.
  template <class S>
  S* raw(const S& value) {
    return static_cast<S*>(add_raw(&value, sizeof(S)));
  }

  struct Buffer {
    std::string name;
    DType dtype;
    int64_t count;
    bool output;
    std::shared_ptr<std::byte> memory;  // with guards
    void* data() const;
  };
  const std::vector<Buffer>& buffers() const { return buffers_; }
  size_t bytes() const { return bytes_; }  // of all buffers, with guards
  std::vector<double> read(const Buffer& b) const { return read(b, 0, b.count); }
  std::vector<double> read(const Buffer& b, int64_t first, int64_t count) const;
  std::string broken_guard() const;  // the name of a buffer something wrote around; else empty

 private:
  void* add(const char* name, DType dtype, int64_t count, bool output, double low, double high,
            DType as, bool poison);
  void* compute_as(DType type, int64_t count,
                   const std::function<void(void*, CaseMemory&)>& compute);
  void* add_raw(const void* from, size_t bytes);
  void* add_copy(const void* from, size_t bytes);
  Buffer& new_buffer(const char* name, DType dtype, int64_t count, bool output);
  void upload(const Buffer& b, const void* from, size_t bytes);
  void repeat(const Buffer& b);
  Backend backend_;
  DType case_dtype_, stored_;
  Mode mode_ = Mode::filled;
  const CaseMemory* once_ = nullptr;
  size_t bytes_ = 0;
  std::vector<Buffer> buffers_;
};

// What a perfect kernel does. The longest of the times that these take at the device's own rates is
// the kernel's floor (tools/peaks.h). 0: not counted.
struct Cost {
  double bytes = 0;  // everything read once and written once
  double flops = 0;
  bool matrix = false;      // the flops are a product of matrices, done in the case's type
  double exps = 0;          // exponentials, logarithms, reciprocals: a GPU has one unit for them
  double instructions = 0;  // issued on a GPU, by one lane: an instruction of a warp counts as 32
};
// Shares of the learning rate, for the optimisers' cases; among them 0: frozen.
inline std::array<float, 64> some_rates() {
  std::array<float, 64> rates{};
  for (size_t i = 0; i < rates.size(); ++i) rates[i] = 0.25f * static_cast<float>(i % 5);
  return rates;
}

struct CaseInfo {
  std::string size;  // "rows=8320 D=192"; the dtype is appended
  DType dtype = DType::f32;
  Cost cost = {};
  // How many times the usual error is allowed. More than 1 needs a comment saying why.
  double slack = 1;
  bool small = true;  // part of the test suite; false: only kernel_lab runs it
  bool mean = false;  // over images: of twice as many, a gradient is half as large
};

using Launcher = std::function<void(Stream)>;  // queues one launch, and does not wait
using RowLauncher = std::function<Launcher(int v)>;

class KernelCase {
 public:
  explicit KernelCase(CaseInfo info) : info_(std::move(info)) {}
  virtual ~KernelCase() = default;
  const CaseInfo& info() const { return info_; }
  std::string size() const { return info_.size + " " + name_of(info_.dtype); }
  const std::string& folder() const { return folder_; }  // below kernels/
  void set_folder(std::string folder) { folder_ = std::move(folder); }
  // Null, or a small case that this one repeats: its images' inputs are those of the small one,
  // over and over, so the small one's reference says what comes out.
  const KernelCase* once() const { return once_.get(); }
  void set_once(std::unique_ptr<KernelCase> once) { once_ = std::move(once); }
  virtual const char* kernel() const = 0;
  virtual int variant_count() const = 0;
  virtual const char* variant_name(int v) const = 0;
  virtual Backend variant_backend(int v) const = 0;
  virtual bool supports(int v) const = 0;
  // Builds the inputs in `memory`, once. The result gives row `v` with scratch of its own, to be
  // launched on them as often as one likes; what is added to then grows. Needs `memory` to stay.
  virtual RowLauncher build(CaseMemory& memory) const = 0;
  virtual size_t scratch_bytes(int v, CaseMemory& memory) const = 0;  // builds too
  // Builds the inputs, launches row `v` once and waits.
  void run(int v, CaseMemory& memory) const;

 private:
  CaseInfo info_;
  std::string folder_;
  std::unique_ptr<KernelCase> once_;
};

const Device& case_device(Backend backend);  // found once
Libraries& case_libraries();
std::shared_ptr<std::byte> case_scratch(Backend backend, size_t bytes);
void case_wait(Backend backend);

// Supplies everything that follows from the parameter struct P.
template <class P>
class CaseOf final : public KernelCase {
 public:
  using Build = std::function<P(CaseMemory&)>;
  CaseOf(CaseInfo info, Build build) : KernelCase(std::move(info)), build_(std::move(build)) {}
  const char* kernel() const override { return P::name; }
  int variant_count() const override { return static_cast<int>(variants<P>().size()); }
  const char* variant_name(int v) const override { return variants<P>()[v].name; }
  Backend variant_backend(int v) const override { return variants<P>()[v].backend; }
  bool supports(int v) const override {
    const auto& row = variants<P>()[v];
    if (!row.supports) return true;
    CaseMemory memory(row.backend, info().dtype, info().dtype, CaseMemory::Mode::addresses_only);
    return row.supports(build_(memory),
                        available(row.backend) ? case_device(row.backend) : Device{row.backend});
  }
  size_t scratch_bytes(int v, CaseMemory& memory) const override {
    const auto& row = variants<P>()[v];
    const P p = build_(memory);
    return row.scratch_bytes ? row.scratch_bytes(p) : 0;
  }
  RowLauncher build(CaseMemory& memory) const override {
    return [p = build_(memory)](int v) -> Launcher {
      const auto& row = variants<P>()[v];
      auto scratch = case_scratch(row.backend, row.scratch_bytes ? row.scratch_bytes(p) : 0);
      return [&row, p, scratch](Stream stream) {
        krait::run(row, p,
                   {.device = case_device(row.backend),
                    .stream = stream,
                    .scratch = scratch.get(),
                    .libraries = &case_libraries()});
      };
    };
  }

 private:
  Build build_;
};

using CaseList = std::vector<std::unique_ptr<KernelCase>>;
template <class P>
std::unique_ptr<KernelCase> make_case(CaseInfo info, typename CaseOf<P>::Build build) {
  return std::make_unique<CaseOf<P>>(std::move(info), std::move(build));
}
CaseList all_cases();  // one line per kernel folder, in kernels/cases.cpp
// Adds the cases that `add(list, times)` makes of so many times as many images as add(list, 1).
template <class F>
void add_repeated(CaseList& list, int64_t times, F&& add) {
  CaseList once, often;
  add(once, 1);
  add(often, times);
  for (size_t i = 0; i < often.size(); ++i) {
    often[i]->set_once(std::move(once[i]));
    list.push_back(std::move(often[i]));
  }
}
// Repeated cases whose largest tensor has more elements than that: with 2^31, what 32 bits cannot
// count.
CaseList huge_cases(int64_t elements);
size_t case_bytes(const KernelCase& c, int v);  // of all buffers and the scratch memory of row v
// Cases of sizes a user chose, of every kernel whose name contains `kernel`. Throws InputError when
// none of them takes sizes, or not these.
CaseList cases_of_size(const std::string& kernel, const UserSizes& sizes);

// The worst disagreement of variant `v` with the reference, in units of the tolerance. Of a
// repeated case's outputs, as many repetitions are looked at as take no long time: the first and
// the last, those around powers of two, and some at random. What is summed over all of them must be
// the small case's sum as often.
struct Check {
  double worst = 0;
  double max_abs = 0;
  double nmse = 0;
  std::string where;
  bool ok() const { return worst <= 1; }
};
Check check(const KernelCase& c, int v);

}  // namespace krait
