// The tables. To add a variant: write it, declare it in rows.h, add a row here. Nothing else.
#include "kernels/selective_scan/rows.h"

namespace krait {

template <>
std::span<const Variant<ScanFwd>> variants<ScanFwd>() {
  static constexpr Variant<ScanFwd> table[] = {
#if KRAIT_CUDA
    {"split_tokens", Backend::cuda, scan_fwd_split_tokens, scan_fwd_split_tokens_supports},
    {"split_states", Backend::cuda, scan_fwd_split_states, scan_fwd_split_states_supports},
    {"pipelined", Backend::cuda, scan_fwd_pipelined, scan_fwd_pipelined_supports,
     scan_fwd_pipelined_scratch},
    {"thread_per_channel", Backend::cuda, scan_fwd_thread_per_channel,
     scan_fwd_thread_per_channel_supports, scan_fwd_thread_per_channel_scratch},
    {"block_scan", Backend::cuda, scan_fwd_block_scan, scan_fwd_block_scan_supports,
     scan_fwd_block_scan_scratch},
#endif
    {"channel_lanes", Backend::cpu, scan_fwd_channel_lanes, scan_fwd_channel_lanes_supports,
     scan_fwd_channel_lanes_scratch},
    {"reference", Backend::cpu, scan_fwd_reference},
  };
  return table;
}

template <>
std::span<const Variant<ScanBwd>> variants<ScanBwd>() {
  static constexpr Variant<ScanBwd> table[] = {
#if KRAIT_CUDA
    {"pipelined", Backend::cuda, scan_bwd_pipelined, scan_bwd_pipelined_supports,
     scan_bwd_pipelined_scratch},
    {"thread_per_channel", Backend::cuda, scan_bwd_thread_per_channel,
     scan_bwd_thread_per_channel_supports, scan_bwd_thread_per_channel_scratch},
    {"block_scan", Backend::cuda, scan_bwd_block_scan, scan_bwd_block_scan_supports,
     scan_bwd_block_scan_scratch},
#endif
    {"channel_lanes", Backend::cpu, scan_bwd_channel_lanes, scan_bwd_channel_lanes_supports,
     scan_bwd_channel_lanes_scratch},
    {"reference", Backend::cpu, scan_bwd_reference},
  };
  return table;
}

}  // namespace krait
