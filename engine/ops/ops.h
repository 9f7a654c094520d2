// The ops models are written with. Each checks shapes, launches kernels and tells the tape how to
// go back. Letters: B images, L tokens, D model width, E inner width, N states, R rank of dt, K
// taps, C classes. T is the type of activations (f32, bf16, f64); "accum" is f32 (f64 for f64):
// residual stream, statistics, small parameters. Errors: krait::Error with the op's name and the
// shapes.
#pragma once

#include <array>

#include "engine/context.h"

namespace krait {

// ---- pointwise (elementwise.cpp)
Tensor silu(Context&, const Tensor& x);      // same shape as x
Tensor softplus(Context&, const Tensor& x);  // same shape as x
Tensor gelu(Context&, const Tensor& x);      // same shape as x; with erf, not its approximation
// to = from, in to's type; both contiguous. Never recorded on a tape.
void copy(Context&, const Tensor& from, const Tensor& to);
// a + b, of b's shape and type.
Tensor add(Context&, const Tensor& a, const Tensor& b);
// x s[d] for each column d: layer scale. (.., D), (D) accum -> (.., D)
Tensor scale_columns(Context&, const Tensor& x, const Tensor& s);

// ---- matrix products (linear.cpp)
// y = x w^T + b. (.., K), (N, K), (N) accum or empty -> (.., N) of type T, or accum when `wide`. x
// may be columns of something wider.
Tensor linear(Context&, const Tensor& x, const Tensor& w, const Tensor& b = {}, bool wide = false);
// The same with rows that start at multiples of 16 bytes, as the fastest matrix products want their
// operands: (B, L, 44) in bf16 has 48 elements from row to row. Its gradient lies the same way.
Tensor linear_aligned(Context&, const Tensor& x, const Tensor& w, const Tensor& b = {});
// That of both sides of a layer: one launch for x[0] w[0]^T and x[1] w[1]^T. One pair or two.
Tensors linear_aligned(Context&, const Tensors& x, const Tensors& w);
// The columns of x as views; nothing is copied. From here on use the parts, not x.
std::vector<Tensor> split(Context&, const Tensor& x, std::initializer_list<int64_t> widths);

// ---- norm (norm.cpp)
enum class Norm : uint8_t { rms, layer };
struct Normed {
  Tensor y;         // (.., D) of type T
  Tensor residual;  // (.., D) accum: x + residual
};
// residual' = x + residual (either may be empty, not both), y = norm(residual') w (+ b) in type
// `out` (RMSNorm: Zhang & Sennrich 2019; LayerNorm: Ba et al. 2016). w, b (D) accum; b may be
// empty. Given the tables of `rope`, the sum (B, L, D) is rotated by them first.
Normed add_norm(Context&, Norm, const Tensor& x, const Tensor& residual, const Tensor& w,
                const Tensor& b, double eps, DType out, const Tensor& cos = {},
                const Tensor& sin = {});

// ---- RoPE over a picture's grid (rope.cpp)
// Rotates channel pairs (2k, 2k+1) of token t by angle table[t, 2k]. x (B, L, D) of any float type;
// cos, sin (P, D) accum, where P = L, or L - 1: then token 0 is left as it is.
Tensor rope(Context&, const Tensor& x, const Tensor& cos, const Tensor& sin);

// ---- softmax attention (attention.cpp); Vaswani et al. 2017, section 3.2
// qkv (B, L, 3 D): queries, keys and values, each of `heads` parts of D / heads numbers ->
// (B, L, D): softmax(q k^T / sqrt(D / heads)) v of every head.
Tensor attention(Context&, const Tensor& qkv, int heads);

// ---- depthwise causal convolution (conv1d.cpp)
struct ConvSide {
  Tensor w;              // (E, K) accum, K 2 to 8 (any K on the CPU)
  Tensor b;              // (E) accum or empty
  bool reverse = false;  // looks at the tokens after, rather than before
};
// y[t] = act(b + sum_k w[k] x[t - (K-1) + k]) for each side, zeros outside; reversed:
// x[t + (K-1) - k]. x (B, L, E), maybe columns of something wider -> one (B, L, E) per side.
std::vector<Tensor> conv1d(Context&, const Tensor& x, const std::vector<ConvSide>& sides,
                           bool silu = true);

// ---- convolutions over pictures and grids of tokens, channels last (conv2d.cpp)
// x (B, H, W, C) T, w (D, C, k, k) T, b (D) accum or empty -> (B, H', W', D) T with
// H' = (H + 2 pad - k) / stride + 1; zeros around the picture. Keeps x alone.
Tensor conv2d(Context&, const Tensor& x, const Tensor& w, const Tensor& b, int stride, int pad);
// Each channel by itself, 3 x 3 taps: y = act(b + sum_{i, j} w[i, j] x[row + i - 1, column + j -
// 1]). x (B, H W, E), maybe columns of something wider; w (E, 3, 3) accum, b (E) accum or empty ->
// (B, H W, E).
Tensor depthwise_conv2d(Context&, const Tensor& x, int64_t H, int64_t W, const Tensor& w,
                        const Tensor& b, bool silu = true);
Tensor transpose(Context&, const Tensor& x);  // (B, M, N, K) -> (B, N, M, K) (transpose.cpp)

// ---- selective scan (scan.cpp); Gu & Dao 2023, section 3
struct ScanSide {
  Tensor u;              // (B, L, E)
  Tensor delta;          // (B, L, E) before bias and softplus; or empty: dt dt_w^T
  Tensor A_log;          // (E, N) accum; A = -exp(A_log)
  Tensor Bm, Cm;         // (B, L, N), maybe columns of something wider
  Tensor D;              // (E) accum or empty
  Tensor bias;           // (E) accum or empty, added to delta
  bool reverse = false;  // from the last token to the first
  Tensor dt = {};        // (B, L, R), where delta is empty; maybe columns of something wider
  Tensor dt_w = {};      // (E, R) T
};
// h_t = exp(dt_t A) h_{t-1} + dt_t Bm_t u_t,  y_t = Cm_t . h_t + D u_t,  dt = softplus(delta +
// bias); result (B, L, E): scale * (sum over sides of y) * silu(z); z (B, L, E) or empty: no gate.
Tensor selective_scan(Context&, std::vector<ScanSide> sides, const Tensor& z, double scale = 1,
                      bool softplus = true);

// ---- pictures to tokens and tokens to classes (tokens.cpp, patch_embed.cpp)
// images (B, C, H, W) T, w (D, C, p, p) T, b (D) accum or empty -> (B, P, D) T, patches row by row,
// `stride` apart.
Tensor patch_embed(Context&, const Tensor& images, const Tensor& w, const Tensor& b, int stride);
// Puts class tokens into the sequence and adds the position embedding, in accum.
// patches (B, P, D) T; each cls (1, 1, D) accum goes to its place in the result; pos (1, L, D)
// accum or empty; L = P + number of class tokens -> (B, L, D) accum.
struct ClassToken {
  Tensor value;
  int64_t at;  // its index in the result; ascending
};
Tensor place_tokens(Context&, const Tensor& patches, const std::vector<ClassToken>& cls,
                    const Tensor& pos);
Tensor reverse_tokens(Context&, const Tensor& x);  // (B, L, D): last token first
// Mean over the given tokens; if there are none, over all from `first` on. (B, L, D) -> (B, D)
Tensor mean_tokens(Context&, const Tensor& x, const std::vector<int64_t>& which = {},
                   int64_t first = 0);
Tensor max_tokens(Context&, const Tensor& x);  // (B, L, C) -> (B, C)

// ---- regularisation (drop.cpp)
// Sets groups of `group` consecutive elements to zero with probability p and multiplies the rest by
// 1 / (1 - p); group = L D: drop path (Huang et al. 2016), 1: dropout. `place` numbers the uses
// within a model. The identity when ctx.training is off or p = 0.
Tensor drop(Context&, const Tensor& x, double p, int64_t group, int place);

// ---- loss (loss.cpp)
// Mean over images of -sum_c target log softmax(logits). logits (B, C) T, targets (B, C) accum ->
// (1) accum. Adds the batch's loss and hits (of the largest target) to `totals` when given, and
// writes what was predicted of image b to predictions[ctx.state->first + b] (device memory; without
// a state to predictions[b]).
Tensor cross_entropy(Context&, const Tensor& logits, const Tensor& targets,
                     Totals* totals = nullptr, Prediction* predictions = nullptr);
// Mean over images and classes of the binary cross-entropy -t log s - (1 - t) log(1 - s), s =
// sigmoid(logits). `binary`: targets above 0 count as 1. Shapes as above.
Tensor bce(Context&, const Tensor& logits, const Tensor& targets, bool binary = false);
// tau^2 / (B C) sum q (log q - log p), q = softmax(teacher / tau), p = softmax(logits / tau): soft
// distillation (Hinton et al. 2015) as DeiT scales it. logits (B, C) T, teacher (B, C) accum -> (1)
// accum. No gradient goes to the teacher.
Tensor distillation(Context&, const Tensor& logits, const Tensor& teacher, double tau);
// 1 at the largest logit (the first of equals), else 0. (B, C) T -> (B, C) accum; never recorded.
Tensor hard_targets(Context&, const Tensor& logits);
// (labels + sigmoid(the other half's logits)) / 2, for both halves of a batch that is there twice
// (cosub; Touvron et al. 2023). logits (2B, C) T, labels (B, C) accum -> (2B, C) accum; never
// recorded. `binary`: labels above 0 count as 1.
Tensor cosub_targets(Context&, const Tensor& logits, const Tensor& labels, bool binary = false);
// weight x. (..) accum; no gradient goes to the weight.
Tensor weigh(Context&, const Tensor& x, double weight);
// The rows of x twice: (B, ..) -> (2B, ..). Never recorded.
Tensor twice(Context&, const Tensor& x);

}  // namespace krait
