// The functions behind the tables of variants.cpp.
#pragma once

#include "kernels/selective_scan/selective_scan.h"

namespace krait {

void scan_fwd_reference(const ScanFwd&, const Launch&);
void scan_bwd_reference(const ScanBwd&, const Launch&);

bool scan_fwd_channel_lanes_supports(const ScanFwd&, const Device&);
size_t scan_fwd_channel_lanes_scratch(const ScanFwd&);
void scan_fwd_channel_lanes(const ScanFwd&, const Launch&);
bool scan_bwd_channel_lanes_supports(const ScanBwd&, const Device&);
size_t scan_bwd_channel_lanes_scratch(const ScanBwd&);
void scan_bwd_channel_lanes(const ScanBwd&, const Launch&);

#if KRAIT_CUDA
bool scan_fwd_split_tokens_supports(const ScanFwd&, const Device&);
void scan_fwd_split_tokens(const ScanFwd&, const Launch&);

bool scan_fwd_split_states_supports(const ScanFwd&, const Device&);
void scan_fwd_split_states(const ScanFwd&, const Launch&);

bool scan_fwd_pipelined_supports(const ScanFwd&, const Device&);
size_t scan_fwd_pipelined_scratch(const ScanFwd&);
void scan_fwd_pipelined(const ScanFwd&, const Launch&);
bool scan_bwd_pipelined_supports(const ScanBwd&, const Device&);
size_t scan_bwd_pipelined_scratch(const ScanBwd&);
void scan_bwd_pipelined(const ScanBwd&, const Launch&);

bool scan_fwd_thread_per_channel_supports(const ScanFwd&, const Device&);
size_t scan_fwd_thread_per_channel_scratch(const ScanFwd&);
void scan_fwd_thread_per_channel(const ScanFwd&, const Launch&);
bool scan_bwd_thread_per_channel_supports(const ScanBwd&, const Device&);
size_t scan_bwd_thread_per_channel_scratch(const ScanBwd&);
void scan_bwd_thread_per_channel(const ScanBwd&, const Launch&);

bool scan_fwd_block_scan_supports(const ScanFwd&, const Device&);
size_t scan_fwd_block_scan_scratch(const ScanFwd&);
void scan_fwd_block_scan(const ScanFwd&, const Launch&);
bool scan_bwd_block_scan_supports(const ScanBwd&, const Device&);
size_t scan_bwd_block_scan_scratch(const ScanBwd&);
void scan_bwd_block_scan(const ScanBwd&, const Launch&);
#endif

}  // namespace krait
