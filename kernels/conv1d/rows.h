// The functions behind the tables of variants.cpp.
#pragma once

#include "kernels/conv1d/conv1d.h"

namespace krait {

void conv1d_fwd_reference(const Conv1dFwd&, const Launch&);
void conv1d_bwd_reference(const Conv1dBwd&, const Launch&);

void conv1d_fwd_openmp(const Conv1dFwd&, const Launch&);
bool conv1d_fwd_openmp_supports(const Conv1dFwd&, const Device&);
size_t conv1d_fwd_openmp_scratch(const Conv1dFwd&);
void conv1d_bwd_openmp(const Conv1dBwd&, const Launch&);
bool conv1d_bwd_openmp_supports(const Conv1dBwd&, const Device&);
size_t conv1d_bwd_openmp_scratch(const Conv1dBwd&);

#if KRAIT_CUDA
void conv1d_fwd_wide_window(const Conv1dFwd&, const Launch&);
bool conv1d_fwd_wide_window_supports(const Conv1dFwd&, const Device&);
void conv1d_fwd_window(const Conv1dFwd&, const Launch&);
bool conv1d_fwd_window_supports(const Conv1dFwd&, const Device&);
void conv1d_bwd_walk(const Conv1dBwd&, const Launch&);
bool conv1d_bwd_walk_supports(const Conv1dBwd&, const Device&);
size_t conv1d_bwd_walk_scratch(const Conv1dBwd&);
void conv1d_bwd_window(const Conv1dBwd&, const Launch&);
bool conv1d_bwd_window_supports(const Conv1dBwd&, const Device&);
size_t conv1d_bwd_window_scratch(const Conv1dBwd&);
#endif

// Calls f.template operator()<K>() for the run-time number of taps, `least` to 8.
template <int least, class F>
void with_taps(int K, F&& f) {
  if (K == least) return f.template operator()<least>();
  if constexpr (least < 8) with_taps<least + 1>(K, f);
}

}  // namespace krait
