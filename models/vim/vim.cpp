// Vision Mamba, forward. Reads like section 3 of the paper (Zhu et al. 2024); the gradient follows
// from the ops. Letters: B images, L tokens, D width, E inner width, N states, R rank of dt.
#include "models/vim/vim.h"

#include <cmath>

#include "engine/remake.h"

namespace krait {
namespace {

// Steps m2 to m8 of the mixer for all sides at once: convolution, projections, scan, gate.
// x, z (B, L, E) -> (B, L, E)
Tensor ssm(Context& ctx, const VimConfig& c, const VimLayer& p, const Tensor& x, const Tensor& z) {
  const int64_t E = c.inner(), K = c.d_conv, R = c.rank(), N = c.d_state;
  const bool both = c.bimamba_type == "v2";
  Tensors u, x_proj;  // (B, L, E), (R + 2N, E) of each side
  if (c.mixer_conv == "2d") {
    for (int k = 0; k < (both ? 2 : 1); ++k)
      u.push_back(depthwise_conv2d(ctx, x, c.grid(), c.grid(), p.side[k].conv_w.viewed({E, 3, 3}),
                                   p.side[k].conv_b));
  } else {
    std::vector<ConvSide> conv;
    for (int k = 0; k < (both ? 2 : 1); ++k)
      conv.push_back({p.side[k].conv_w.viewed({E, K}), p.side[k].conv_b, k == 1});
    u = conv1d(ctx, x, conv);
  }
  for (size_t k = 0; k < u.size(); ++k) x_proj.push_back(p.side[k].x_proj);
  Tensors x_dbl = linear_aligned(ctx, u, x_proj);  // (B, L, R + 2N) of each side
  std::vector<ScanSide> sides;
  for (size_t k = 0; k < u.size(); ++k) {
    const VimLayer::Side& s = p.side[k];
    auto q = split(ctx, x_dbl[k], {R, N, N});  // dt, B, C: (B, L, R | N | N)
    sides.push_back({u[k], {}, s.A_log, q[1], q[2], s.D, s.dt_b, k == 1, q[0], s.dt_w});
  }
  if (c.bimamba_type == "v1") {  // the same inputs scanned the other way, with an A of their own
    sides.push_back(sides[0]);
    sides[1].A_log = p.side[1].A_log;
    sides[1].reverse = true;
  }
  return selective_scan(ctx, sides, z, both && c.if_divide_out ? 0.5 : 1.0);
}

// The grid's tokens row by row -> column by column, and back. (B, L, D)
Tensor swap_grid(Context& ctx, const VimConfig& c, const Tensor& x) {
  const int64_t G = c.grid();
  return transpose(ctx, x.viewed({x.shape(0), G, G, x.shape(2)})).viewed(x.shape());
}

// Layer i: n (B, L, D) -> (B, L, D)
Tensor mixer(Context& ctx, const VimConfig& c, const VimLayer& p, int i, Tensor n) {
  auto scope = ctx.scope("mixer");
  const bool columns = c.scan_order == "alternate" && i / (c.if_bidirectional ? 2 : 1) % 2 == 1;
  if (columns) n = swap_grid(ctx, c, n);
  auto xz = split(ctx, linear(ctx, n, p.in_proj, p.in_bias), {c.inner(), c.inner()});
  Tensor v = ssm(ctx, c, p, xz[0], xz[1]);            // (B, L, E)
  Tensor h = linear(ctx, v, p.out_proj, p.out_bias);  // (B, L, D)
  if (columns) h = swap_grid(ctx, c, h);
  return p.gamma ? scale_columns(ctx, h, p.gamma) : h;  // layer scale
}

// The class tokens and where they stand in the sequence.
std::vector<ClassToken> class_tokens(const VimConfig& c, const VimWeights& w) {
  if (!c.if_cls_token) return {};
  const int64_t P = c.patches();
  if (c.use_double_cls_token) return {{w.cls_head, 0}, {w.cls_tail, P + 1}};
  return {{w.cls, c.use_middle_cls_token ? P / 2 : 0}};
}

// What goes from block to block.
struct Between {
  Tensor h;  // (B, L, D): what the last mixer gave; empty before the first
  Tensor r;  // (B, L, D) accum: the residual stream
};

// Drop path of block i, i = depth standing for what comes after them all. The published code shifts
// the usual rates by one: block i drops the output of the mixer before it.
Tensor drop_path(Context& ctx, const VimConfig& c, int i, const Tensor& h) {
  if (!h) return h;
  const double rate = i == c.depth             ? c.drop_path_rate
                      : i == 0 || c.depth == 1 ? 0
                                               : c.drop_path_rate * (i - 1) / (c.depth - 1);
  return drop(ctx, h, rate, h.count() / h.shape(0), i);
}

Norm norm_of(const VimConfig& c) {
  return c.rms_norm ? Norm::rms : Norm::layer;
}

// Where both are rotated, add_norm rotates their sum: rotate(h) + rotate(r) = rotate(h + r).
bool rotates_sum(const VimConfig& c) {
  return c.if_rope && c.if_rope_residual && !c.if_bidirectional;
}

// Block i: add, norm, mix.
Between block(Context& ctx, const VimConfig& c, const RopeTable& table, const VimLayer& p, int i,
              Between s) {
  auto scope = ctx.scope(cat("layers.", i));
  const bool rotate = rotates_sum(c);
  Normed n =
      add_norm(ctx, norm_of(c), drop_path(ctx, c, i, s.h), s.r, p.norm_w, p.norm_b, c.norm_epsilon,
               p.in_proj.dtype(), rotate ? table.cos : Tensor(), rotate ? table.sin : Tensor());
  s = {};  // without a tape, nothing else holds it
  return {mixer(ctx, c, p, i, std::move(n.y)), n.residual};
}

// Block i, or with if_bidirectional blocks i and i + 1, the second of which works on the reversed
// sequence. `p` are their weights.
Between blocks(Context& ctx, const VimConfig& c, const RopeTable& table,
               const std::vector<VimLayer>& p, int i, Between s) {
  if (c.if_rope && !rotates_sum(c)) {
    // The residual of block 0 is the tokens themselves, which are rotated as its hidden state.
    if (!s.h || c.if_rope_residual) s.r = rope(ctx, s.r, table.cos, table.sin);
    if (s.h) s.h = rope(ctx, s.h, table.cos, table.sin);
  }
  if (!c.if_bidirectional) return block(ctx, c, table, p[0], i, std::move(s));
  Between f = block(ctx, c, table, p[0], i, s);
  s = {s.h ? reverse_tokens(ctx, s.h) : s.h, reverse_tokens(ctx, s.r)};
  Between b = block(ctx, c, table, p[1], i + 1, std::move(s));
  return {add(ctx, reverse_tokens(ctx, b.h), f.h), add(ctx, reverse_tokens(ctx, b.r), f.r)};
}

}  // namespace

Tensor vim(Context& ctx, const VimConfig& c, const VimWeights& w, const RopeTable& table,
           const Tensor& images, VimKept* kept) {
  KRAIT_CHECK(images.shape() == Shape({images.shape(0), c.channels, c.img_size, c.img_size}),
              "vim: images are ", images.shape(), ", the model takes pictures of ", c.img_size);
  const auto cls = class_tokens(c, w);
  Tensor patches = c.stem == "conv" ? conv_stem(ctx, c, w.stem, images)
                                    : patch_embed(ctx, images, w.patch_w, w.patch_b, c.stride);
  Tensor tokens = place_tokens(ctx, patches, cls, w.pos);  // (B, L, D) accum
  patches = {};                                            // without a tape, nothing else holds it
  tokens = drop(ctx, tokens, c.drop_rate, 1, c.depth + 1);
  if (kept) kept->tokens = tokens;

  Tensors s = {{}, std::move(tokens)};  // h and r of Between
  const int step = c.if_bidirectional ? 2 : 1;
  for (int i = 0; i + step <= c.depth; i += step) {
    const std::vector<VimLayer> p(w.layers.begin() + i, w.layers.begin() + i + step);
    auto f = [c, table, p, i](Context& ctx, Tensors s) {
      Between to = blocks(ctx, c, table, p, i, {std::move(s[0]), std::move(s[1])});
      return Tensors{to.h, to.r};
    };
    s = ctx.remake_layers ? remake(ctx, std::move(s), f) : f(ctx, std::move(s));
  }

  Tensor h = drop_path(ctx, c, c.depth, s[0]);
  Tensor y = add_norm(ctx, norm_of(c), h, s[1], w.norm_w, w.norm_b, c.norm_epsilon, images.dtype())
                 .y;  // (B, L, D)
  if (kept) kept->features = y;
  auto scope = ctx.scope("head");
  if (!cls.empty()) {
    std::vector<int64_t> where;
    for (const ClassToken& t : cls) where.push_back(t.at);
    y = mean_tokens(ctx, y, where);  // (B, D)
  } else if (c.final_pool_type == "mean") {
    y = mean_tokens(ctx, y);
  } else if (c.final_pool_type == "none") {
    y = mean_tokens(ctx, y, {y.shape(1) - 1});
  }
  Tensor logits =
      linear(ctx, y, w.head_w, w.head_b, true);  // (B, C), or (B, L, C) for max and all; accum
  return cls.empty() && c.final_pool_type == "max" ? max_tokens(ctx, logits) : logits;
}

RopeTable rope_table(Context& ctx, const VimConfig& c, DType accum_dtype) {
  if (!c.if_rope) return {};
  // Positions are stretched to the grid of pre-training: t = q / grid * pt_hw_seq_len. The first
  // half of the channels turns with the row, the second with the column.
  const int D = c.embed_dim, half = D / 2, grid = c.img_size / c.patch_size;
  std::vector<double> cosines, sines;
  for (int y = 0; y < grid; ++y)
    for (int x = 0; x < grid; ++x)
      for (int d = 0; d < D; ++d) {
        const double t = double(d < half ? y : x) / grid * c.pt_hw_seq_len;
        const int j = d % half / 2;
        const double angle = t * std::pow(10000.0, -2.0 * j / half);
        cosines.push_back(std::cos(angle));
        sines.push_back(std::sin(angle));
      }
  auto table = [&](const std::vector<double>& v) {
    Tensor t = ctx.persistent({int64_t{grid} * grid, D}, accum_dtype);
    ctx.set(t, v);
    return t;
  };
  return {table(cosines), table(sines)};
}

VimWeights vim_weights(const VimConfig& c, ParamStore& store, MixerInit mixer_init) {
  const int64_t D = c.embed_dim, E = c.inner(), N = c.d_state, R = c.rank(), K = c.d_conv;
  const int64_t p = c.patch_size, fan = c.channels * p * p;
  // Starts of the newest published code; see README.md beside this file for the table.
  const Init zero{Init::constant, 0}, one{Init::constant, 1}, small{Init::normal, 0.02};
  const Init lecun{Init::normal, 1 / std::sqrt(double(fan)) / 0.87962566103423978};
  auto uniform = [](double bound) { return Init{Init::uniform, bound}; };
  // That project starts its linear layers anew, after the mixer has chosen how dt should start.
  const bool seed = mixer_init == MixerInit::seed;
  auto linear = [&](double fan_in) { return seed ? small : uniform(1 / std::sqrt(fan_in)); };
  const Init dt_bias = seed ? zero : Init{Init::dt_bias, 0.001, 0.1};
  const Init patch = seed ? uniform(1 / std::sqrt(double(fan))) : lecun, cls = seed ? zero : small;

  VimWeights w;
  if (c.if_cls_token && c.use_double_cls_token) {
    w.cls_head = store.get("cls_token_head", {1, 1, D}, cls, true);
    w.cls_tail = store.get("cls_token_tail", {1, 1, D}, cls, true);
  } else if (c.if_cls_token) {
    w.cls = store.get("cls_token", {1, 1, D}, cls, true);
  }
  if (c.if_abs_pos_embed) w.pos = store.get("pos_embed", {1, c.tokens(), D}, small, true);
  if (c.stem == "conv") {
    w.stem = stem_weights(c, store);
  } else {
    w.patch_w = store.get("patch_embed.proj.weight", {D, c.channels, p, p}, patch);
    w.patch_b = store.get("patch_embed.proj.bias", {D}, seed ? patch : zero, true);
  }
  w.head_w = store.get("head.weight", {c.num_classes, D}, small);
  w.head_b = store.get("head.bias", {c.num_classes}, zero, true);
  for (int i = 0; i < c.depth; ++i) {
    const std::string layer = cat("layers.", i, "."), m = layer + "mixer.";
    VimLayer l;
    if (c.init_layer_scale)
      l.gamma = store.get(m + "gamma", {D}, {Init::constant, *c.init_layer_scale}, true);
    VimLayer::Side& f = l.side[0];
    VimLayer::Side& b = l.side[1];
    f.A_log = store.get(m + "A_log", {E, N}, {Init::a_log}, true);
    f.D = store.get(m + "D", {E}, one, true);
    if (c.bimamba_type != "none") b.A_log = store.get(m + "A_b_log", {E, N}, {Init::a_log}, true);
    if (c.bimamba_type == "v2") b.D = store.get(m + "D_b", {E}, one, true);
    l.in_proj = store.get(m + "in_proj.weight", {2 * E, D}, linear(double(D)));
    if (c.bias) l.in_bias = store.get(m + "in_proj.bias", {2 * E}, zero, true);
    const bool grid_conv = c.mixer_conv == "2d";
    const Shape taps = grid_conv ? Shape({E, 1, 3, 3}) : Shape({E, 1, K});
    const Init tap = uniform(1 / std::sqrt(grid_conv ? 9.0 : double(K)));
    auto side = [&](VimLayer::Side& s, const std::string& suffix, Init bias) {
      const std::string conv = m + (grid_conv ? "conv2d" : "conv1d") + suffix;
      s.conv_w = store.get(conv + ".weight", taps, tap, true);
      if (c.conv_bias) s.conv_b = store.get(conv + ".bias", {E}, tap, true);
      s.x_proj = store.get(m + "x_proj" + suffix + ".weight", {R + 2 * N, E}, linear(double(E)));
      s.dt_w = store.get(m + "dt_proj" + suffix + ".weight", {E, R}, linear(double(R)));
      s.dt_b = store.get(m + "dt_proj" + suffix + ".bias", {E}, bias, true);
    };
    side(f, "", dt_bias);
    if (c.bimamba_type == "v2") side(b, "_b", mixer_init == MixerInit::published ? zero : dt_bias);
    l.out_proj = store.get(m + "out_proj.weight", {D, E},
                           uniform(1 / std::sqrt(double(E)) / std::sqrt(double(c.depth))));
    if (c.bias) l.out_bias = store.get(m + "out_proj.bias", {D}, zero, true);
    l.norm_w = store.get(layer + "norm.weight", {D}, one, true);
    if (!c.rms_norm) l.norm_b = store.get(layer + "norm.bias", {D}, zero, true);
    w.layers.push_back(l);
  }
  w.norm_w = store.get("norm_f.weight", {D}, one, true);
  if (!c.rms_norm) w.norm_b = store.get("norm_f.bias", {D}, zero, true);
  return w;
}

}  // namespace krait
