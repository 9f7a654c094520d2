// The functions behind the tables of variants.cpp.
#pragma once

#include "kernels/tokens/tokens.h"

namespace krait {

void place_tokens_fwd_reference(const PlaceTokensFwd&, const Launch&);
void place_tokens_bwd_reference(const PlaceTokensBwd&, const Launch&);
void reverse_tokens_reference(const ReverseTokens&, const Launch&);
void mean_tokens_fwd_reference(const MeanTokensFwd&, const Launch&);
void mean_tokens_bwd_reference(const MeanTokensBwd&, const Launch&);
void max_tokens_fwd_reference(const MaxTokensFwd&, const Launch&);
void max_tokens_bwd_reference(const MaxTokensBwd&, const Launch&);

void place_tokens_fwd_openmp(const PlaceTokensFwd&, const Launch&);
void place_tokens_bwd_openmp(const PlaceTokensBwd&, const Launch&);
void reverse_tokens_openmp(const ReverseTokens&, const Launch&);
void mean_tokens_fwd_openmp(const MeanTokensFwd&, const Launch&);
void mean_tokens_bwd_openmp(const MeanTokensBwd&, const Launch&);
void max_tokens_fwd_openmp(const MaxTokensFwd&, const Launch&);
void max_tokens_bwd_openmp(const MaxTokensBwd&, const Launch&);

#if KRAIT_CUDA
bool place_tokens_fwd_quads_supports(const PlaceTokensFwd&, const Device&);
void place_tokens_fwd_quads(const PlaceTokensFwd&, const Launch&);
bool mean_tokens_fwd_quads_supports(const MeanTokensFwd&, const Device&);
void mean_tokens_fwd_quads(const MeanTokensFwd&, const Launch&);
bool mean_tokens_bwd_quads_supports(const MeanTokensBwd&, const Device&);
void mean_tokens_bwd_quads(const MeanTokensBwd&, const Launch&);
void place_tokens_fwd_grid_stride(const PlaceTokensFwd&, const Launch&);
void place_tokens_bwd_two_pass(const PlaceTokensBwd&, const Launch&);
size_t place_tokens_bwd_scratch(const PlaceTokensBwd&);
void reverse_tokens_grid_stride(const ReverseTokens&, const Launch&);
void mean_tokens_fwd_channel_per_thread(const MeanTokensFwd&, const Launch&);
void mean_tokens_bwd_grid_stride(const MeanTokensBwd&, const Launch&);
void max_tokens_fwd_channel_per_thread(const MaxTokensFwd&, const Launch&);
void max_tokens_bwd_grid_stride(const MaxTokensBwd&, const Launch&);
#endif

}  // namespace krait
