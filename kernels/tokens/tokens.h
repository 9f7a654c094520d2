// Kernels that arrange or pool the tokens of an image.
//   place:   y[b, l] = (class token at l, or the next patch) + pos[l]
//            dpatches = dy at the patches, dcls = sum_b dy at its place, dpos[l] = sum_b dy[b, l]
//   reverse: y[b, l] = x[b, L-1-l]                         (its own gradient)
//   mean:    y[b] = mean of x[b, l] over the chosen l      dx[b, l] = dy[b] / n at those l, else 0
//   max:     y[b, c] = max_l x[b, l, c], the first on ties dx[b, l, c] = dy[b, c] at that l, else 0
#pragma once

#include "kernels/common/kernel.h"

namespace krait {

struct PlaceTokensFwd {
  static constexpr const char* name = "place_tokens_fwd";
  DType dtype;  // of patches; the rest is accum(dtype)
  int64_t B;
  int64_t P;  // patches
  int64_t D;
  int classes;          // class tokens, 0 to 2; L = P + classes
  int64_t at[2];        // where they go, ascending
  const void* cls[2];   // (D) each
  const void* patches;  // (B, P, D)
  const void* pos;      // (L, D) or null
  void* y;              // (B, L, D)
};
struct PlaceTokensBwd {
  static constexpr const char* name = "place_tokens_bwd";
  DType dtype;
  int64_t B;
  int64_t P;
  int64_t D;
  int classes;
  int64_t at[2];
  bool accumulate_dpatches;
  const void* dy;  // (B, L, D), accum(dtype)
  void* dpatches;  // (B, P, D), dtype, or null
  void* dcls[2];   // (D) or null; always added to
  void* dpos;      // (L, D) or null; always added to
};

// Which class token stands at token l: -1 if none. `patch`: which patch does, if none.
template <class P>
KRAIT_HD int class_at(const P& p, int64_t l, int64_t& patch) {
  patch = l;
  for (int i = 0; i < 2 && i < p.classes; ++i) {  // the 2 lets a GPU's compiler unroll it
    if (l == p.at[i]) return i;
    if (l > p.at[i]) --patch;
  }
  return -1;
}

struct ReverseTokens {
  static constexpr const char* name = "reverse_tokens";
  DType dtype;
  int64_t B;
  int64_t L;
  int64_t D;
  bool accumulate;  // y += rather than y =
  const void* x;    // (B, L, D)
  void* y;          // (B, L, D)
};

struct MeanTokensFwd {
  static constexpr const char* name = "mean_tokens_fwd";
  static constexpr int most = 4;
  DType dtype;
  int64_t B;
  int64_t L;
  int64_t D;
  int count;            // of chosen tokens; 0: all from `first` on
  int64_t which[most];  // the chosen ones
  const void* x;        // (B, L, D)
  void* y;              // (B, D)
  int64_t first = 0;    // below L
};
struct MeanTokensBwd {
  static constexpr const char* name = "mean_tokens_bwd";
  DType dtype;
  int64_t B;
  int64_t L;
  int64_t D;
  int count;
  int64_t which[MeanTokensFwd::most];
  bool accumulate;  // dx += rather than dx =
  const void* dy;   // (B, D)
  void* dx;         // (B, L, D)
  int64_t first = 0;
};

struct MaxTokensFwd {
  static constexpr const char* name = "max_tokens_fwd";
  DType dtype;
  int64_t B;
  int64_t L;
  int64_t C;
  const void* x;    // (B, L, C)
  void* y;          // (B, C)
  int32_t* argmax;  // (B, C)
};
struct MaxTokensBwd {
  static constexpr const char* name = "max_tokens_bwd";
  DType dtype;
  int64_t B;
  int64_t L;
  int64_t C;
  bool accumulate;
  const void* dy;         // (B, C)
  const int32_t* argmax;  // (B, C)
  void* dx;               // (B, L, C)
};

template <>
std::span<const Variant<PlaceTokensFwd>> variants<PlaceTokensFwd>();
template <>
std::span<const Variant<PlaceTokensBwd>> variants<PlaceTokensBwd>();
template <>
std::span<const Variant<ReverseTokens>> variants<ReverseTokens>();
template <>
std::span<const Variant<MeanTokensFwd>> variants<MeanTokensFwd>();
template <>
std::span<const Variant<MeanTokensBwd>> variants<MeanTokensBwd>();
template <>
std::span<const Variant<MaxTokensFwd>> variants<MaxTokensFwd>();
template <>
std::span<const Variant<MaxTokensBwd>> variants<MaxTokensBwd>();

}  // namespace krait
