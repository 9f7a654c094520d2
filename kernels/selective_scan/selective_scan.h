// The selective scan of Mamba (Gu & Dao 2023, section 3), one or two sides in one launch.
//   dt = softplus(delta + bias),  A = -exp(A_log)
//   delta is given, or made here from a narrow input, delta_t = W_dt dt_t, and then not rounded
//   h_t = exp(dt_t A) h_{t-1} + dt_t B_t u_t,   s_t = C_t . h_t + D u_t      for each channel
//   y_t = scale * (sum over sides of s_t) * silu(z_t)
// A reversed side runs from the last token to the first. Derivation of the gradient, variants and
// what limits them: kernels/selective_scan/selective_scan.md
#pragma once

#include "kernels/common/kernel.h"

namespace krait {

// The forward pass keeps the state h before every so many steps; the backward pass re-makes the
// states between. Fewer kept: less memory and traffic, but more to hold while going back.
constexpr int scan_state_every(int N) {
  return N <= 16 ? 8 : N <= 32 ? 2 : 1;
}
constexpr int64_t scan_state_count(int64_t L, int N) {
  return (L + scan_state_every(N) - 1) / scan_state_every(N);
}

struct ScanFwd {
  static constexpr const char* name = "selective_scan_fwd";
  DType dtype;   // of u, delta, B, C, z, y and states; A_log, D, bias are accum(dtype), and so is h
  int64_t B, L;  // images, tokens
  int E, N;      // channels, states (1 to 64)
  int sides;     // 1 or 2
  int R;         // width of dt; 0 where delta is given
  bool softplus;  // false: dt = delta + bias
  double scale;
  struct Side {
    bool reverse;
    const void* u;      // (B, L, E)
    const void* delta;  // (B, L, E), or null: made from the next two
    const void* dt;     // (B, L, R), rows dt_row apart
    const void* dt_w;   // (E, R)
    int64_t dt_row;
    const void* A_log;  // (E, N)
    const void* Bm;     // (B, L, N), rows b_row apart
    const void* Cm;     // (B, L, N), rows c_row apart
    const void* D;      // (E) or null
    const void* bias;   // (E) or null
    int64_t b_row, c_row;
    void* states;  // (B, scan_state_count, E, N) in the order of the scan, or null: inference
  } side[2];
  const void* z;  // (B, L, E), rows z_row apart, or null: no gate
  int64_t z_row;
  void* sum;  // (B, L, E): sum over sides of s, kept for the backward pass of the gate; or null
  void* y;    // (B, L, E)
};

struct ScanBwd {
  static constexpr const char* name = "selective_scan_bwd";
  DType dtype;
  int64_t B, L;
  int E, N, R;
  int sides;
  bool softplus;
  double scale;
  struct Side {
    bool reverse;
    const void *u, *delta, *dt, *dt_w, *A_log, *Bm, *Cm, *D, *bias;  // as in ScanFwd
    int64_t dt_row, b_row, c_row;
    const void* states;
    void* du;      // (B, L, E)
    void* ddelta;  // (B, L, E)
    void* dBm;     // (B, L, N), rows db_row apart
    void* dCm;     // (B, L, N), rows dc_row apart
    int64_t db_row, dc_row;
    void* ddt;  // (B, L, R), rows ddt_row apart, overwritten; null where delta is given
    int64_t ddt_row;
    bool accumulate_du, accumulate_ddelta, accumulate_dBm, accumulate_dCm;
    void* dA_log;  // (E, N), always added to; so are the next two. Each of the seven may be null.
    void* dD;      // (E)
    void* dbias;   // (E)
  } side[2];
  const void* z;
  int64_t z_row;
  const void* sum;  // (B, L, E) as kept; null when there is no gate or dz is not wanted
  const void* dy;   // (B, L, E)
  void* dz;         // (B, L, E), rows dz_row apart, or null
  int64_t dz_row;
  bool accumulate_dz;
};

template <>
std::span<const Variant<ScanFwd>> variants<ScanFwd>();
template <>
std::span<const Variant<ScanBwd>> variants<ScanBwd>();

}  // namespace krait
