// The memory of a case with its guard words, and the comparison with the reference.
#include "kernels/common/case.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "kernels/common/cuda.h"

namespace krait {
namespace {

constexpr size_t guard_bytes = 256;
constexpr int guard_byte = 0xA5;

double hash01(uint64_t seed, uint64_t i) {
  uint64_t x = (seed << 40) + i;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return static_cast<double>((x ^ (x >> 31)) >> 11) * 0x1p-53;
}
double round_to(double v, DType t) {
  if (t == DType::bf16) return static_cast<double>(bf16(static_cast<float>(v)));
  if (t == DType::f32) return static_cast<float>(v);
  return v;
}
// Half a unit in the last place, relative.
double rounding(DType t) {
  return t == DType::bf16 ? 0x1p-9 : 0x1p-25;
}

void copy(Backend backend, void* to, const void* from, size_t bytes) {
#if KRAIT_CUDA
  if (backend == Backend::cuda) {
    KRAIT_CUDA_CHECK(cudaMemcpy(to, from, bytes, cudaMemcpyDefault));
    return;
  }
#endif
  (void)backend;
  std::memcpy(to, from, bytes);
}

void set_bytes(Backend backend, void* to, int value, size_t bytes) {
#if KRAIT_CUDA
  if (backend == Backend::cuda) {
    KRAIT_CUDA_CHECK(cudaMemset(to, value, bytes));
    return;
  }
#endif
  (void)backend;
  std::memset(to, value, bytes);
}

template <class T, class F>
void fill(std::vector<std::byte>& values, F&& value) {
  T* to = reinterpret_cast<T*>(values.data());
  const auto count = static_cast<int64_t>(values.size() / sizeof(T));
#pragma omp parallel for schedule(static) if (count > (1 << 16))
  for (int64_t i = 0; i < count; ++i) to[i] = value(i);
}

struct Error2 {
  double max = 0, rms = 0;
  size_t at = 0;
};
Error2 difference(const std::vector<double>& got, const std::vector<double>& want) {
  Error2 e;
  for (size_t i = 0; i < got.size(); ++i) {
    double d = std::abs(got[i] - want[i]);
    if (got[i] == want[i]) d = 0;  // two equal infinities
    if (!std::isfinite(d)) return {d, d, i};
    if (d > e.max) e.max = d, e.at = i;
    e.rms += d * d;
  }
  if (!got.empty()) e.rms = std::sqrt(e.rms / static_cast<double>(got.size()));
  return e;
}

struct Ran {
  std::vector<std::vector<double>> values;
  std::vector<std::string> names;
  std::vector<DType> types;
  std::string broken;
};
Ran run_case(const KernelCase& c, int v, Backend backend, DType stored) {
  CaseMemory memory(backend, c.info().dtype, stored);
  c.run(v, memory);
  Ran r;
  for (const auto& b : memory.buffers())
    if (b.output) {
      r.values.push_back(memory.read(b));
      r.names.push_back(b.name);
      r.types.push_back(b.dtype);
    }
  r.broken = memory.broken_guard();
  return r;
}

}  // namespace

void* CaseMemory::Buffer::data() const {
  return memory.get() + guard_bytes;
}

void CaseMemory::upload(const Buffer& b, const void* from, size_t bytes) {
  std::vector<std::byte> all(bytes + 2 * guard_bytes, std::byte{guard_byte});
  std::memcpy(all.data() + guard_bytes, from, bytes);
  copy(backend_, b.memory.get(), all.data(), all.size());
}

void CaseMemory::repeat(const Buffer& b) {
  const Buffer& once = once_->buffers_[buffers_.size() - 1];
  KRAIT_CHECK(once.dtype == b.dtype && (once.count == 0 ? b.count : b.count % once.count) == 0,
              b.name, ": ", b.count, " elements are not some times ", once.count);
  const size_t bytes = b.count * size_of(b.dtype);
  auto to = static_cast<std::byte*>(b.data());
  set_bytes(backend_, b.memory.get(), guard_byte, guard_bytes);
  set_bytes(backend_, to + bytes, guard_byte, guard_bytes);
  size_t done = once.count * size_of(once.dtype);
  copy(backend_, to, once.data(), done);
  for (; done < bytes; done += std::min(done, bytes - done))
    copy(backend_, to + done, to, std::min(done, bytes - done));
}

CaseMemory::Buffer& CaseMemory::new_buffer(const char* name, DType dtype, int64_t count,
                                           bool output) {
  const size_t bytes = count * size_of(dtype) + 2 * guard_bytes;
  const uintptr_t pretended = (uintptr_t{1} << 20) + bytes_;
  auto memory =
      mode_ == Mode::filled
          ? case_scratch(backend_, bytes)
          : std::shared_ptr<std::byte>(reinterpret_cast<std::byte*>(pretended), [](std::byte*) {});
  bytes_ += (bytes + guard_bytes - 1) / guard_bytes * guard_bytes;
  return buffers_.emplace_back(Buffer{name, dtype, count, output, std::move(memory)});
}

void* CaseMemory::add_raw(const void* from, size_t bytes) {
  const Buffer& b = new_buffer("", DType::u8, static_cast<int64_t>(bytes), false);
  if (once_)
    repeat(b);
  else if (mode_ == Mode::filled)
    upload(b, from, bytes);
  return b.data();
}

void* CaseMemory::add(const char* name, DType dtype, int64_t count, bool output, double low,
                      double high, DType as, bool poison) {
  const uint64_t seed = buffers_.size() + 1;
  const Buffer& b = new_buffer(name, dtype, count, output);
  if (once_) repeat(b);
  if (once_ || mode_ == Mode::addresses_only) return b.data();
  const size_t bytes = count * size_of(dtype);
  std::vector<std::byte> values(bytes, std::byte{0xFF});  // all ones: NaN in every float type
  auto value = [&](int64_t i) { return low + (high - low) * hash01(seed, i); };
  if (!poison && dtype == DType::i32)
    fill<int32_t>(values, [&](int64_t i) { return static_cast<int32_t>(value(i)); });
  else if (!poison && dtype == DType::u8)
    fill<uint8_t>(values, [&](int64_t i) { return static_cast<uint8_t>(value(i)); });
  else if (!poison)
    dispatch_float(dtype, [&]<class T>() {
      fill<T>(values,
              [&](int64_t i) { return T(static_cast<accum_t<T>>(round_to(value(i), as))); });
    });
  upload(b, values.data(), bytes);
  return b.data();
}

void* CaseMemory::in(const char* name, int64_t count, double low, double high) {
  return add(name, stored_, count, false, low, high, case_dtype_, false);
}
void* CaseMemory::in_accum(const char* name, int64_t count, double low, double high) {
  return add(name, accum(stored_), count, false, low, high, accum(case_dtype_), false);
}
void* CaseMemory::in_i32(const char* name, int64_t count, int32_t below) {
  return add(name, DType::i32, count, false, 0, below, DType::i32, false);
}
void* CaseMemory::in_u8(const char* name, int64_t count) {
  return add(name, DType::u8, count, false, 0, 256, DType::u8, false);
}
void* CaseMemory::out(const char* name, int64_t count) {
  return add(name, stored_, count, true, 0, 0, stored_, true);
}
void* CaseMemory::out_accum(const char* name, int64_t count) {
  return add(name, accum(stored_), count, true, 0, 0, stored_, true);
}
void* CaseMemory::out_i32(const char* name, int64_t count) {
  return add(name, DType::i32, count, true, 0, 0, stored_, true);
}
void* CaseMemory::out_u8(const char* name, int64_t count) {
  return add(name, DType::u8, count, true, 0, 0, DType::u8, true);
}
void* CaseMemory::inout(const char* name, int64_t count, double low, double high) {
  return add(name, stored_, count, true, low, high, case_dtype_, false);
}
void* CaseMemory::inout_accum(const char* name, int64_t count, double low, double high) {
  return add(name, accum(stored_), count, true, low, high, accum(case_dtype_), false);
}

void* CaseMemory::compute_as(DType type, int64_t count,
                             const std::function<void(void*, CaseMemory&)>& compute) {
  if (once_ || mode_ == Mode::addresses_only) {
    const Buffer& b = new_buffer("", type, count, false);
    if (once_) repeat(b);
    return b.data();
  }
  CaseMemory host(Backend::cpu, case_dtype_, stored_);
  std::vector<std::byte> result(count * size_of(type));
  compute(result.data(), host);
  const Buffer& b = new_buffer("", type, count, false);
  upload(b, result.data(), result.size());
  return b.data();
}
void* CaseMemory::add_copy(const void* from, size_t bytes) {
  std::vector<std::byte> raw(bytes);
#if KRAIT_CUDA
  if (available(Backend::cuda))
    KRAIT_CUDA_CHECK(cudaMemcpy(raw.data(), from, bytes, cudaMemcpyDefault));
  else
#endif
    std::memcpy(raw.data(), from, bytes);
  return add_raw(raw.data(), bytes);
}
void* CaseMemory::copy_of(const void* from, int64_t count) {
  return add_copy(from, count * size_of(stored_));
}
void* CaseMemory::copy_of_accum(const void* from, int64_t count) {
  return add_copy(from, count * size_of(accum(stored_)));
}

std::vector<double> CaseMemory::read(const Buffer& b, int64_t first, int64_t count) const {
  std::vector<std::byte> raw(count * size_of(b.dtype));
  copy(backend_, raw.data(), static_cast<std::byte*>(b.data()) + first * size_of(b.dtype),
       raw.size());
  std::vector<double> out(count);
  for (int64_t i = 0; i < count; ++i)
    if (b.dtype == DType::i32)
      out[i] = reinterpret_cast<const int32_t*>(raw.data())[i];
    else if (b.dtype == DType::u8)
      out[i] = static_cast<double>(reinterpret_cast<const uint8_t*>(raw.data())[i]);
    else
      dispatch_float(b.dtype, [&]<class T>() {
        out[i] = static_cast<double>(reinterpret_cast<const T*>(raw.data())[i]);
      });
  return out;
}

std::string CaseMemory::broken_guard() const {
  for (const Buffer& b : buffers_) {
    const size_t bytes = b.count * size_of(b.dtype);
    std::byte guards[2 * guard_bytes];  // before and behind
    copy(backend_, guards, b.memory.get(), guard_bytes);
    copy(backend_, guards + guard_bytes, static_cast<std::byte*>(b.data()) + bytes, guard_bytes);
    for (const std::byte g : guards)
      if (g != std::byte{guard_byte}) return b.name;
  }
  return {};
}

const Device& case_device(Backend backend) {
  static const Device cpu;
  if (backend == Backend::cpu) return cpu;
  static const Device cuda = find_device(Backend::cuda);
  return cuda;
}
Libraries& case_libraries() {
  static Libraries libraries;
  return libraries;
}
std::shared_ptr<std::byte> case_scratch(Backend backend, size_t bytes) {
  if (bytes == 0) return {};
#if KRAIT_CUDA
  if (backend == Backend::cuda) {
    void* p = nullptr;
    KRAIT_CUDA_CHECK(cudaMalloc(&p, bytes));
    return {static_cast<std::byte*>(p), [](std::byte* q) { cudaFree(q); }};
  }
#endif
  (void)backend;
  // Aligned as the engine's step memory is.
  bytes = (bytes + guard_bytes - 1) / guard_bytes * guard_bytes;
  return {static_cast<std::byte*>(std::aligned_alloc(guard_bytes, bytes)), std::free};
}
void case_wait(Backend backend) {
#if KRAIT_CUDA
  if (backend == Backend::cuda) KRAIT_CUDA_CHECK(cudaDeviceSynchronize());
#endif
  (void)backend;
}

void KernelCase::run(int v, CaseMemory& memory) const {
  const Launcher launch = build(memory)(v);
  launch(nullptr);  // CUDA's default stream: no speed is measured here
  case_wait(variant_backend(v));
}

size_t case_bytes(const KernelCase& c, int v) {
  CaseMemory memory(c.variant_backend(v), c.info().dtype, c.info().dtype,
                    CaseMemory::Mode::addresses_only);
  const size_t scratch = c.scratch_bytes(v, memory);
  return memory.bytes() + scratch;
}

namespace {

// Notes how far `got` is from `want`, in units of the tolerance: four times what the reference
// itself errs when it runs in the case's own type (twice, for the root mean square), plus one
// rounding of the output. So no tolerance has to be chosen by hand. `share`: of the largest
// magnitude, allowed besides.
void compare(Check& r, const std::vector<double>& got, const std::vector<double>& want,
             const Error2& floor, double eps, double slack, const std::string& where,
             int64_t first = 0, double share = 0) {
  const Error2 e = difference(got, want);
  const Error2 size = difference(want, std::vector<double>(want.size()));
  const double extra = share * size.max + 1e-300;
  double used = std::max(e.max / (4 * floor.max + eps * size.max + extra),
                         e.rms / (2 * floor.rms + eps * size.rms + extra)) /
                slack;
  if (!std::isfinite(e.max)) used = std::numeric_limits<double>::infinity();
  if (used >= r.worst) {
    r.worst = used;
    r.where = where + "[" + std::to_string(first + static_cast<int64_t>(e.at)) + "]";
  }
  r.max_abs = std::max(r.max_abs, e.max);
  if (size.rms > 0) r.nmse = std::max(r.nmse, e.rms * e.rms / (size.rms * size.rms));
}

void note_guard(Check& r, const std::string& broken) {
  if (broken.empty()) return;
  r.worst = std::numeric_limits<double>::infinity();
  r.where = "memory around " + broken;
}

// Which repetitions of `size` elements to look at, of `times`.
std::vector<int64_t> sample(int64_t size, int64_t times) {
  constexpr int64_t elements = int64_t{1} << 24;  // so many are soon compared
  std::vector<int64_t> which;
  if (size * times <= elements) {
    for (int64_t i = 0; i < times; ++i) which.push_back(i);
    return which;
  }
  for (const int64_t i : {int64_t{0}, int64_t{1}, times - 2, times - 1}) which.push_back(i);
  for (int bits = 24; bits < 40; ++bits) {
    const int64_t at = (int64_t{1} << bits) / size;
    for (int64_t i = at - 1; i <= at + 1; ++i)
      if (i >= 0 && i < times) which.push_back(i);
  }
  const int64_t more = std::clamp<int64_t>(elements / std::max<int64_t>(size, 1), 20, 1000);
  for (int64_t i = 0; i < more; ++i)
    which.push_back(static_cast<int64_t>(hash01(7, i) * static_cast<double>(times)));
  return which;
}

Check check_repeated(const KernelCase& c, int v) {
  const KernelCase& small = *c.once();
  const DType t = c.info().dtype;
  const int reference = c.variant_count() - 1;
  const Ran exact = run_case(small, reference, Backend::cpu, DType::f64);
  const Ran rounded = run_case(small, reference, Backend::cpu, t);
  CaseMemory once(Backend::cpu, t, t);
  small.build(once);
  CaseMemory memory(c.variant_backend(v), once);
  c.run(v, memory);
  int64_t times = 1;
  for (size_t i = 0; i < once.buffers().size(); ++i)
    if (const int64_t n = once.buffers()[i].count)
      times = std::max(times, memory.buffers()[i].count / n);
  Check r;
  size_t k = 0;  // output
  for (size_t i = 0; i < once.buffers().size(); ++i) {
    const auto& one = once.buffers()[i];
    const auto& all = memory.buffers()[i];
    if (!one.output) continue;
    const std::vector<double> before = once.read(one);
    const bool starts = !before.empty() && std::isfinite(before[0]);  // else as NaN
    // What is one for all images grows, unless it is a mean: that stays, and gradients shrink.
    const bool for_all = all.count == one.count;
    const double grown = for_all && starts && !c.info().mean ? static_cast<double>(times)
                         : !for_all && c.info().mean         ? 1 / static_cast<double>(times)
                                                             : 1;
    std::vector<double> want = exact.values[k];
    Error2 floor = difference(rounded.values[k], want);
    floor.max *= grown, floor.rms *= grown;
    for (size_t j = 0; j < want.size(); ++j)
      want[j] = starts ? before[j] + grown * (want[j] - before[j]) : grown * want[j];
    ++k;
    const double eps = rounding(all.dtype);
    if (for_all) {
      // Millions of numbers are added in f32. What that rounds is far less than a lost part.
      compare(r, memory.read(all), want, floor, eps, c.info().slack, all.name, 0, 2e-3);
      continue;
    }
    for (const int64_t at : sample(one.count, all.count / one.count))
      compare(r, memory.read(all, at * one.count, one.count), want, floor, eps, c.info().slack,
              all.name, at * one.count);
  }
  note_guard(r, memory.broken_guard());
  return r;
}

}  // namespace

Check check(const KernelCase& c, int v) {
  if (c.once()) return check_repeated(c, v);
  const int reference = c.variant_count() - 1;
  const Ran exact = run_case(c, reference, Backend::cpu, DType::f64);
  const Ran rounded = run_case(c, reference, Backend::cpu, c.info().dtype);
  const Ran got = run_case(c, v, c.variant_backend(v), c.info().dtype);
  Check r;
  for (size_t k = 0; k < got.values.size(); ++k)
    compare(r, got.values[k], exact.values[k], difference(rounded.values[k], exact.values[k]),
            rounding(got.types[k]), c.info().slack, got.names[k]);
  note_guard(r, got.broken);
  return r;
}

}  // namespace krait
