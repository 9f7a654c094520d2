// Element types, and the host/device marker. No CUDA header is needed here.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#ifdef __CUDACC__
#define KRAIT_HD __host__ __device__
#else
#define KRAIT_HD
#endif

namespace krait {

// f64 exists for the CPU references and gradient checks; no GPU kernel has to take it.
enum class DType : uint8_t { f32, bf16, f64, i32, u8 };

// Same bits as __nv_bfloat16, usable without the CUDA toolkit.
struct bf16 {
  uint16_t bits = 0;
  bf16() = default;
  KRAIT_HD explicit bf16(float f) {  // rounds to nearest even; NaN stays NaN
#ifdef __CUDA_ARCH__
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(f));
#else
    uint32_t u = std::bit_cast<uint32_t>(f);
    u = f != f ? 0x7FFF0000u : u + 0x7FFFu + ((u >> 16) & 1u);
    bits = static_cast<uint16_t>(u >> 16);
#endif
  }
  explicit bf16(double d) : bf16(static_cast<float>(d)) {}
  KRAIT_HD explicit operator float() const {
    return std::bit_cast<float>(uint32_t{bits} << 16);
  }
  KRAIT_HD explicit operator double() const {
    return static_cast<double>(float(*this));
  }
};

constexpr size_t size_of(DType t) {
  switch (t) {
    case DType::f64:
      return 8;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::bf16:
      return 2;
    case DType::u8:
      return 1;
  }
  return 0;
}

constexpr const char* name_of(DType t) {
  switch (t) {
    case DType::f64:
      return "f64";
    case DType::f32:
      return "f32";
    case DType::i32:
      return "i32";
    case DType::bf16:
      return "bf16";
    case DType::u8:
      return "u8";
  }
  return "?";
}

// The type sums and statistics are kept in: never narrower than f32.
template <class T>
using accum_t = std::conditional_t<std::is_same_v<T, double>, double, float>;
constexpr DType accum(DType t) {
  return t == DType::f64 ? DType::f64 : DType::f32;
}

// Calls f.template operator()<T>() for the run-time element type.
template <class F>
bool dispatch_float(DType t, F&& f) {
  switch (t) {
    case DType::f32:
      f.template operator()<float>();
      return true;
    case DType::bf16:
      f.template operator()<bf16>();
      return true;
    case DType::f64:
      f.template operator()<double>();
      return true;
    default:
      return false;
  }
}

}  // namespace krait
