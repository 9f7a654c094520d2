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
  if (mode_ == Mode::filled) upload(b, from, bytes);
  return b.data();
}

void* CaseMemory::add(const char* name, DType dtype, int64_t count, bool output, double low,
                      double high, DType as, bool poison) {
  const uint64_t seed = buffers_.size() + 1;
  const Buffer& b = new_buffer(name, dtype, count, output);
  if (mode_ == Mode::addresses_only) return b.data();
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
  if (mode_ == Mode::addresses_only) return new_buffer("", type, count, false).data();
  CaseMemory host(Backend::cpu, case_dtype_, stored_);
  std::vector<std::byte> result(count * size_of(type));
  compute(result.data(), host);
  return add_raw(result.data(), result.size());
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

std::vector<double> CaseMemory::read(const Buffer& b) const {
  std::vector<std::byte> raw(b.count * size_of(b.dtype));
  copy(backend_, raw.data(), b.data(), raw.size());
  std::vector<double> out(b.count);
  for (int64_t i = 0; i < b.count; ++i)
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
    std::vector<std::byte> all(bytes + 2 * guard_bytes);
    copy(backend_, all.data(), b.memory.get(), all.size());
    for (size_t i = 0; i < guard_bytes; ++i)
      if (all[i] != std::byte{guard_byte} || all[guard_bytes + bytes + i] != std::byte{guard_byte})
        return b.name;
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

// Allowed error: four times what the reference itself makes when it runs in the case's own type
// (twice, for the root mean square), plus one rounding of the output. So no tolerance has to be
// chosen by hand.
Check check(const KernelCase& c, int v) {
  const int reference = c.variant_count() - 1;
  const Ran exact = run_case(c, reference, Backend::cpu, DType::f64);
  const Ran rounded = run_case(c, reference, Backend::cpu, c.info().dtype);
  const Ran got = run_case(c, v, c.variant_backend(v), c.info().dtype);
  Check r;
  for (size_t k = 0; k < got.values.size(); ++k) {
    const auto& want = exact.values[k];
    const Error2 floor = difference(rounded.values[k], want), e = difference(got.values[k], want);
    const Error2 size = difference(want, std::vector<double>(want.size()));
    const double eps = rounding(got.types[k]);
    double used = std::max(e.max / (4 * floor.max + eps * size.max + 1e-300),
                           e.rms / (2 * floor.rms + eps * size.rms + 1e-300)) /
                  c.info().slack;
    if (!std::isfinite(e.max)) used = std::numeric_limits<double>::infinity();
    if (used >= r.worst) {
      r.worst = used;
      r.where = got.names[k] + "[" + std::to_string(e.at) + "]";
    }
    r.max_abs = std::max(r.max_abs, e.max);
    if (size.rms > 0) r.nmse = std::max(r.nmse, e.rms * e.rms / (size.rms * size.rms));
  }
  if (!got.broken.empty()) {
    r.worst = std::numeric_limits<double>::infinity();
    r.where = "memory around " + got.broken;
  }
  return r;
}

}  // namespace krait
