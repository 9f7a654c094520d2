// The stages from the picture to the loss.
#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numeric>

#include "tools/walkthrough/stages.h"

namespace krait::walk {
namespace {

// "the class token", "the patch in row 4, column 0"; what stands at place `token` of the sequence.
std::string token_text(const Trace& t, int64_t token) {
  const VimConfig& c = t.config;
  if (c.if_bidirectional && t.layer % 2 == 1) token = t.n.v.rows - 1 - token;
  if (!class_token_at(c, token).empty()) return "the class token";
  int64_t patch = 0;
  for (int64_t l = 0; l < token; ++l) patch += class_token_at(c, l).empty();
  return cat("the patch in row ", patch / c.grid(), ", column ", patch % c.grid());
}
// A few steps of a walk over L tokens: the first, then some around `middle`, then the last.
std::vector<int64_t> some_steps(int64_t L, int64_t middle) {
  std::vector<int64_t> steps;
  for (int64_t i = 0; i < L; ++i)
    if (i < 3 || i + 1 == L || (middle - 2 < i && i <= middle + 1)) steps.push_back(i);
  return steps;
}

Stage image(const Subject& s, const View&) {
  const Trace& t = s.trace;
  const int64_t S = t.config.img_size;
  Stage g;
  g.text =
      "The picture's bytes, shifted and scaled so that over the training set each colour has mean "
      "0 "
      "and deviation 1.";
  g.equations = {"image = (pixel / 255 - mean) / deviation"};
  g.shapes = {{"pixels, 0 to 255", shape({3, S, S})}, {"image", shape({3, S, S})}};
  Vector plain(t.image.size());
  for (size_t i = 0; i < plain.size(); ++i) {
    const size_t c = i / (S * S);
    plain[i] = (s.pixels[i] / 255.0 - s.mean[c]) / s.stddev[c];
  }
  g.numbers = {{"top left pixel", "byte", "mean", "deviation", "image"}};
  for (int c = 0; c < 3; ++c)
    g.numbers.push_back({c == 0   ? "red"
                         : c == 1 ? "green"
                                  : "blue",
                         cat(int(s.pixels[c * S * S])), number(s.mean[c]), number(s.stddev[c]),
                         number(t.image[c * S * S])});
  g.places = {"image"};
  g.checks = {{"image", difference(column(t.image), column(plain))}};
  return g;
}

Stage patches(const Subject& s, const View& view) {
  const Trace& t = s.trace;
  const VimConfig& c = t.config;
  const int64_t D = c.embed_dim, P = c.patches(), K = 3 * c.patch_size * c.patch_size;
  const Patches cutter{3, c.img_size, c.patch_size, c.stride};
  Stage g;
  g.text = cat("The picture is cut into ", c.grid(), " x ", c.grid(), " patches of ", c.patch_size,
               " x ", c.patch_size, " pixels",
               c.stride == c.patch_size ? "" : cat(", ", c.stride, " apart"), ". Each becomes ", D,
               " numbers by one matrix, the same for all: a convolution whose "
               "stride is the distance of the patches.");
  g.equations = {"patch_t = W_{patch} pixels_t + b_{patch}"};
  g.shapes = {{"pixels of all patches", shape({P, K})},
              {"W_{patch}", shape({D, K})},
              {"patches", shape({P, D})}};
  const Matrix cut = cutter.cut(t.image), plain = linear(cut, t.weight("patch_embed.proj.weight"),
                                                         t.vector("patch_embed.proj.bias"));
  const int64_t i = std::min(view.token, P - 1);
  g.numbers = {head("", "number", 6), row(cat("pixels of patch ", i), cut, i),
               row(cat("patch ", i), t.patches.v, i)};
  g.places = {"patch_embed", "patch_loop"};
  g.checks = {{"patches", difference(t.patches.v, plain)}};
  return g;
}

Stage position(const Subject& s, const View& view) {
  const Trace& t = s.trace;
  const VimConfig& c = t.config;
  const int64_t D = c.embed_dim, P = c.patches(), L = c.tokens();
  Stage g;
  g.text =
      cat(c.if_cls_token ? cat("A class token, ", D, " numbers that are learned, is put ",
                               c.use_double_cls_token   ? "at both ends"
                               : c.use_middle_cls_token ? "into the middle"
                                                        : "before the first patch",
                               " of the sequence. ")
                         : "The patches, row by row, are the tokens. ",
          c.if_abs_pos_embed ? "Each place has numbers of its own, which are learned and added: "
                               "else a token would not say where it is."
                             : "This model has no position embedding.");
  g.equations = {c.if_abs_pos_embed ? "token_t = patch_t + position_t" : "token_t = patch_t"};
  g.shapes = {{"patches", shape({P, D})}, {"tokens", shape({L, D})}};
  Matrix plain(L, D);
  int64_t patch = 0;
  for (int64_t l = 0; l < L; ++l) {
    const std::string cls = class_token_at(c, l);
    const Vector from = t.vector(cls);
    for (int64_t d = 0; d < D; ++d) {
      plain(l, d) = cls.empty() ? t.patches.v(patch, d) : from[d];
      if (c.if_abs_pos_embed) plain(l, d) += t.weight("pos_embed").data[l * D + d];
    }
    patch += cls.empty();
  }
  const int64_t i = view.token;
  g.numbers = {head("", "number", 6)};
  if (c.if_abs_pos_embed) {
    Matrix pos(L, D);
    pos.data = t.weight("pos_embed").data;
    g.numbers.push_back(row(cat("position ", i), pos, i));
  }
  g.numbers.push_back(row(cat("token ", i), t.tokens.v, i));
  g.places = {"place_tokens"};
  g.checks = {{"tokens", difference(t.tokens.v, plain)}};
  return g;
}

Stage residual(const Subject& s, const View& view) {
  const Trace& t = s.trace;
  const VimConfig& c = t.config;
  const int64_t D = c.embed_dim, L = t.r.v.rows;
  Stage g;
  g.text =
      t.h_in.v
          ? "What the block before gave is added to the residual stream r, which runs past all "
            "blocks. "
          : "Before the first block the residual stream r is the tokens themselves. ";
  if (t.turns())
    g.text +=
        cat("Then RoPE turns pairs of channels, the first half of them by the token's row and the "
            "second by its column",
            t.turns_r() ? "" : " (here h alone)",
            ": what two tokens have in common then depends on how far apart they are.");
  else
    g.text += c.if_rope ? "The pair's first layer has turned both (RoPE) already. "
                        : "This model has no RoPE. ";
  if (c.if_bidirectional && t.layer % 2 == 1)
    g.text += "This is a pair's second layer: it walks the reversed sequence.";
  const int G = c.img_size / c.patch_size, from = c.pt_hw_seq_len;
  const Matrix h = t.turns_h() ? rotate(t.h_in.v, G, from) : t.h_in.v;
  const Matrix r = t.turns_r() ? rotate(t.r_in.v, G, from) : t.r_in.v;
  g.equations = {!t.turns()                ? "r \u2190 r + h"
                 : t.turns_r() && t.h_in.v ? "r \u2190 R_t (r + h)"
                 : t.turns_r()             ? "r \u2190 R_t r"
                                           : "r \u2190 r + R_t h"};
  const int64_t i = view.token;
  g.shapes = {{"r, h", shape({L, D})}};
  if (t.turns()) {
    g.equations.push_back("R_t turns channels (2j, 2j + 1) by the angle  position / grid * " +
                          std::to_string(from) + " * 10000^{-2j / (D / 2)}");
    const int64_t patch = i - (L - int64_t{G} * G);
    g.numbers = {head("", "pair", 5), {"angle by row"}, {"angle by column"}};
    for (int64_t j = 0; patch >= 0 && j < std::min<int64_t>(5, D / 4); ++j) {
      const int y = static_cast<int>(patch) / G, x = static_cast<int>(patch) % G;
      g.numbers[1].push_back(number(rope_angle(2 * j, D, y, x, G, from)));
      g.numbers[2].push_back(number(rope_angle(D / 2 + 2 * j, D, y, x, G, from)));
    }
  }
  if (!g.numbers.empty()) g.numbers.emplace_back();
  g.numbers.push_back(head("", "number", 5));
  if (t.h_in.v) g.numbers.push_back(row(cat("h, token ", i), t.h_in.v, i, 5));
  g.numbers.push_back(row("r before", t.r_in.v, i, 5));
  g.numbers.push_back(row("r after", t.r.v, i, 5));
  g.places = {"residual"};
  if (t.turns()) g.places.insert(g.places.end(), {"rope_angle", "rope_loop"});
  g.checks = {{"r", difference(t.r.v, sum(r, h))}};
  return g;
}

std::string norm_equation(const VimConfig& c, const char* from, const char* to) {
  return c.rms_norm ? cat(to, " = w \u2299 ", from, " / sqrt(mean(", from, "^2) + \u03b5)")
                    : cat(to, " = w \u2299 (", from, " - mean(", from, ")) / sqrt(variance(", from,
                          ") + \u03b5) + b");
}

Stage normed(const Subject& s, const View& view) {
  const Trace& t = s.trace;
  const VimConfig& c = t.config;
  const std::string layer = cat("layers.", t.layer, ".norm.");
  Stage g;
  g.text =
      "Each token's row is scaled to mean square 1, channel by channel times a weight. The block "
      "works "
      "on n; r itself runs on unchanged.";
  g.equations = {norm_equation(c, "r", "n")};
  g.shapes = {{"r, n", shape({t.n.v.rows, c.embed_dim})}, {"w", shape({c.embed_dim})}};
  g.numbers = {head("", "number", 6), row(cat("r, token ", view.token), t.r.v, view.token),
               row("w", one_row(t.vector(layer + "weight")), 0),
               row(cat("n, token ", view.token), t.n.v, view.token)};
  g.places = {"residual", "norm_loop"};
  g.checks = {
      {"n", difference(t.n.v, norm(t.r.v, t.vector(layer + "weight"), t.vector(layer + "bias"),
                                   c.norm_epsilon, !c.rms_norm))}};
  return g;
}

Stage in_proj(const Subject& s, const View& view) {
  const Trace& t = s.trace;
  const int64_t E = t.config.inner(), D = t.config.embed_dim, L = t.n.v.rows;
  Stage g;
  g.text =
      cat("A matrix widens each token to twice E = ", E,
          " channels. x goes through convolution and scan; z will decide, channel by channel, how "
          "much of their result is let through.");
  g.equations = {"[x | z] = n W_{in}^T"};
  g.shapes = {
      {"n", shape({L, D})}, {"W_{in}", shape({2 * E, D})}, {"x, z", shape({L, E}) + " each"}};
  g.numbers = {head("", "channel", 6), row(cat("x, token ", view.token), t.xz.v, view.token),
               row(cat("z, token ", view.token), t.xz.v, view.token, 6, E)};
  g.places = {"in_proj", "linear"};
  g.checks = {{"x and z", difference(t.xz.v, linear(t.n.v, t.weight(t.mixer("in_proj.weight")),
                                                    t.vector(t.mixer("in_proj.bias"))))}};
  return g;
}

Stage convolution(const Subject& s, const View& view) {
  const Trace& t = s.trace;
  const int64_t E = t.config.inner(), K = t.config.d_conv, L = t.n.v.rows, e = view.channel;
  const Matrix x = t.xz.v.part(0, E);
  Stage g;
  g.text = cat("Each channel by itself looks at ", K,
               " neighbouring tokens: the forward side at a token "
               "and those before it, the reverse side at it and those after.");
  g.equations = {"q_t = b + \u03a3_k w_k x_{t-K+1+k}"};
  if (t.inputs() == 2) g.equations.push_back("reverse: q_t = b + \u03a3_k w_k x_{t+K-1-k}");
  g.shapes = {
      {"x", shape({L, E})}, {"w, of each side", shape({E, K})}, {"q, of each side", shape({L, E})}};
  for (int k = 0; k < t.inputs(); ++k) {
    const std::string conv = t.mixer(k ? "conv1d_b" : "conv1d");
    const Matrix& w = t.weight(conv + ".weight");
    const Vector b = t.vector(conv + ".bias");
    if (k == 0) g.numbers = {{cat("channel ", e), "tap", "token", "w", "x", "w x"}};
    double sum = b.empty() ? 0 : b[e];
    for (int64_t i = 0; i < K; ++i) {
      const int64_t from = k ? view.token + (K - 1 - i) : view.token - (K - 1 - i);
      const bool there = 0 <= from && from < L;
      const double v = there ? x(from, e) : 0;
      sum += w(e, i) * v;
      g.numbers.push_back({side_name(k), cat(i), there ? cat(from) : "outside", number(w(e, i)),
                           number(v), number(w(e, i) * v)});
    }
    g.numbers.push_back({cat("with b ", number(b.empty() ? 0 : b[e])), "", "", "", "q",
                         number(t.q[k](view.token, e))});
    g.checks.push_back({cat("q, ", side_name(k)), difference(t.q[k], conv1d(x, w, b, k == 1))});
  }
  g.places = {"conv1d", "conv_loop"};
  return g;
}

Stage silu_stage(const Subject& s, const View& view) {
  const Trace& t = s.trace;
  const int64_t E = t.config.inner(), L = t.n.v.rows;
  Stage g;
  g.text =
      "SiLU lets positive numbers through and holds negative ones back, smoothly. u is what the "
      "scan "
      "hears.";
  g.equations = {"u = q / (1 + exp(-q))"};
  g.shapes = {{"q, u, of each side", shape({L, E})}};
  g.numbers = {head(cat("token ", view.token), "channel", 6)};
  for (int k = 0; k < t.inputs(); ++k) {
    g.numbers.push_back(row(cat("q, ", side_name(k)), t.q[k], view.token));
    g.numbers.push_back(row(cat("u, ", side_name(k)), t.u[k].v, view.token));
    Matrix plain = t.q[k];
    for (double& v : plain.data) v = silu(v);
    g.checks.push_back({cat("u, ", side_name(k)), difference(t.u[k].v, plain)});
  }
  g.places = {"conv1d", "silu_loop"};
  return g;
}

Stage x_proj(const Subject& s, const View& view) {
  const Trace& t = s.trace;
  const int64_t E = t.config.inner(), R = t.config.rank(), N = t.config.d_state, L = t.n.v.rows;
  Stage g;
  g.text = cat(
      "This is the selection: each token makes its own dt, B and C out of u. B says how it writes "
      "into the ",
      N,
      " states of a channel, C how it reads them, dt (by way of \u0394) how "
      "long a step it takes. B and C are shared by all channels.");
  g.equations = {"[dt | B | C] = u W_x^T"};
  g.shapes = {{"u", shape({L, E})},
              {"W_x, of each side", shape({R + 2 * N, E})},
              {"dt, B, C", shape({L, R}) + ", " + shape({L, N}) + ", " + shape({L, N})}};
  g.numbers = {head(cat("token ", view.token), "number", std::min<int64_t>(6, std::max(R, N)))};
  for (int k = 0; k < t.inputs(); ++k) {
    const std::string side = side_name(k);
    g.numbers.push_back(row("dt, " + side, t.x_dbl[k].v.part(0, R), view.token));
    g.numbers.push_back(row("B, " + side, t.x_dbl[k].v.part(R, R + N), view.token));
    g.numbers.push_back(row("C, " + side, t.x_dbl[k].v.part(R + N, R + 2 * N), view.token));
    const Matrix& w = t.weight(t.mixer(k ? "x_proj_b.weight" : "x_proj.weight"));
    g.checks.push_back({cat("dt, B, C, ", side), difference(t.x_dbl[k].v, linear(t.u[k].v, w))});
  }
  g.places = {"x_proj", "split"};
  return g;
}

Stage delta(const Subject& s, const View& view) {
  const Trace& t = s.trace;
  const int64_t E = t.config.inner(), R = t.config.rank(), L = t.n.v.rows;
  Stage g;
  g.text =
      cat("Each channel gets a step \u0394 > 0 of its own, out of the ", R,
          " numbers dt. A long step: "
          "the token is written down and what was before is forgotten. A short one: the token is "
          "hardly noticed, and the states stay as they are.");
  g.equations = {"\u0394 = softplus(dt W_{dt}^T + b_{dt}),  softplus(a) = log(1 + exp(a))"};
  g.shapes = {{"dt", shape({L, R})},
              {"W_{dt}, b_{dt}", shape({E, R}) + ", " + shape({E})},
              {"\u0394", shape({L, E})}};
  g.numbers = {{"\u0394", cat("token ", view.token, ", channel ", view.channel), "smallest",
                "median", "largest"}};
  for (int k = 0; k < t.inputs(); ++k) {
    const std::string end = k ? "_b" : "";
    Side side = t.side(k);
    side.delta = linear(t.x_dbl[k].v.part(0, R), t.weight(t.mixer("dt_proj" + end + ".weight")));
    Vector all = t.Delta[k].data;
    std::sort(all.begin(), all.end());
    g.numbers.push_back({side_name(k), number(t.Delta[k](view.token, view.channel)),
                         number(all.front()), number(all[all.size() / 2]), number(all.back())});
    g.checks.push_back({cat("dt W^T, ", side_name(k)), difference(t.delta[k].v, side.delta)});
    g.checks.push_back({cat("\u0394, ", side_name(k)), difference(t.Delta[k], step_size(side))});
  }
  g.places = {"delta", "softplus_loop"};
  return g;
}

Stage discretise(const Subject& s, const View& view) {
  const Trace& t = s.trace;
  const int64_t E = t.config.inner(), N = t.config.d_state, L = t.n.v.rows, e = view.channel;
  Stage g;
  g.text =
      "A state obeys h' = A h + B u in continuous time, with A < 0: left alone it decays. Over a "
      "step of "
      "length \u0394 it decays by exp(\u0394 A) exactly; what is written is taken as \u0394 B u. A "
      "is learned, one "
      "rate for each channel and state. The check takes each state of the engine one step further.";
  g.equations = {"A = -exp(A_{log})", "h_t = exp(\u0394_t A) h_{t-1} + \u0394_t B_t u_t",
                 "half of a state is forgotten after  log 2 / (\u0394 |A|)  tokens"};
  g.shapes = {
      {"A", shape({E, N})}, {"exp(\u0394 A)", shape({L, E, N})}, {"\u0394 B u", shape({L, E, N})}};
  const int64_t few = std::min<int64_t>(N, 6);
  g.numbers = {head(cat("token ", view.token, ", channel ", e), "state", few)};
  for (int k = 0; k < t.sides(); ++k) {
    const Side side = t.side(k);
    const Matrix a = decay(side, t.Delta[k]);
    std::vector<std::string> rate = {cat("A, ", side_name(k))}, keep = {"  exp(\u0394 A)"},
                             half = {"  tokens to half"}, write = {"  \u0394 B u"};
    for (int64_t n = 0; n < few; ++n) {
      const double A = -std::exp(side.A_log(e, n)), Delta = t.Delta[k](view.token, e);
      rate.push_back(number(A));
      keep.push_back(number(a(view.token, e * N + n)));
      half.push_back(number(std::log(2) / (Delta * -A)));
      write.push_back(number(Delta * side.B(view.token, n) * side.u(view.token, e)));
    }
    for (const auto& r : {rate, keep, half, write}) g.numbers.push_back(r);
    Matrix stepped(L, E * N);
    for (int64_t step = 0; step < L; ++step)
      for (int64_t i = 0; i < E * N; ++i) {
        const int64_t l = side.token(step);
        const double before = step ? t.h[k](side.token(step - 1), i) : 0;
        stepped(l, i) =
            a(l, i) * before + t.Delta[k](l, i / N) * side.B(l, i % N) * side.u(l, i / N);
      }
    g.checks.push_back({cat("one step of h, ", side_name(k)), difference(t.h[k], stepped)});
  }
  g.places = {"a", "scan_loop"};
  return g;
}

Stage scan(const Subject& s, const View& view) {
  const Trace& t = s.trace;
  const int64_t E = t.config.inner(), N = t.config.d_state, L = t.n.v.rows, e = view.channel;
  Stage g;
  g.text =
      cat("The recurrence, token by token: the forward side from the first token to the last, the "
          "reverse side back. Each of the ",
          E, " channels has ", N,
          " states, which start at 0. The "
          "result hears them through C, and u past them through D. ",
          t.sides() == 1 ? "This model has a forward side only."
                         : "The table follows one channel along both walks.");
  g.equations = {"h_t = exp(\u0394_t A) h_{t-1} + \u0394_t B_t u_t     (reverse side: h_{t+1})",
                 "s_t = C_t \u00b7 h_t + D u_t"};
  g.shapes = {{"h", shape({L, E, N})}, {"s, of each side", shape({L, E})}};
  g.numbers = {{cat("channel ", e), "token", "u", "\u0394", "exp(\u0394 A)", "\u0394 B u",
                "h, state 0", "s"}};
  for (int k = 0; k < t.sides(); ++k) {
    const Side side = t.side(k);
    const Matrix a = decay(side, t.Delta[k]);
    int64_t last = -1;
    for (const int64_t step : some_steps(L, side.reverse ? L - 1 - view.token : view.token)) {
      const int64_t l = side.token(step);
      if (step > last + 1) g.numbers.push_back({"", "...", "", "", "", "", "", ""});
      last = step;
      g.numbers.push_back({side_name(k), cat(l), number(side.u(l, e)), number(t.Delta[k](l, e)),
                           number(a(l, e * N)),
                           number(t.Delta[k](l, e) * side.B(l, 0) * side.u(l, e)),
                           number(t.h[k](l, e * N)), number(t.s[k](l, e))});
    }
    const Matrix h = states(side, step_size(side));
    g.checks.push_back({cat("h, ", side_name(k)), difference(t.h[k], h)});
    g.checks.push_back({cat("s, ", side_name(k)), difference(t.s[k], listen(side, h))});
  }
  g.places = {"scan", "scan_loop", "listen_loop"};
  return g;
}

Stage attention(const Subject& s, const View& view) {
  const Trace& t = s.trace;
  const int64_t L = t.n.v.rows, e = view.channel;
  Stage g;
  g.text = cat(
      "The same scan, multiplied out: s is a sum over the token itself and those before it, with "
      "a weight for each, as in attention. Nobody computes the L x L weights; the recurrence has "
      "their sum "
      "in L steps. Below: whom token ",
      view.token, " (", token_text(t, view.token), ") hears most in this channel.");
  g.equations = {
      "s_t = \u03a3_i M(t, i) u_i + D u_t",
      "M(t, i) = \u03a3_n C_{t,n} exp(A_n (\u0394_{i+1} + ... + \u0394_t)) \u0394_i B_{i,n}"};
  g.shapes = {{"M, of each channel and side", shape({L, L})}};
  g.numbers = {{cat("channel ", e), "token", "M(t, i)", "u", "M(t, i) u"}};
  for (int k = 0; k < t.sides(); ++k) {
    const Side side = t.side(k);
    const Matrix M = implied_attention(side, step_size(side), e);
    std::vector<int64_t> order(L);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) {
      return std::abs(M(view.token, i) * side.u(i, e)) > std::abs(M(view.token, j) * side.u(j, e));
    });
    for (int64_t i = 0; i < std::min<int64_t>(4, L); ++i)
      g.numbers.push_back({side_name(k), cat(order[i]), number(M(view.token, order[i])),
                           number(side.u(order[i], e)),
                           number(M(view.token, order[i]) * side.u(order[i], e))});
    Matrix plain(L, 1), got(L, 1);
    for (int64_t l = 0; l < L; ++l) {
      plain(l, 0) = side.D[e] * side.u(l, e);
      for (int64_t i = 0; i < L; ++i) plain(l, 0) += M(l, i) * side.u(i, e);
      got(l, 0) = t.s[k](l, e);
    }
    g.checks.push_back({cat("s of channel ", e, ", ", side_name(k)), difference(got, plain)});
  }
  g.places = {"scan_loop", "listen_loop"};
  return g;
}

Stage gate(const Subject& s, const View& view) {
  const Trace& t = s.trace;
  const int64_t E = t.config.inner(), L = t.n.v.rows;
  Stage g;
  g.text =
      cat("Both sides are added", t.scale() == 0.5 ? " and halved" : "",
          ": each token has now heard the whole picture. Then z, made of the same token, opens or "
          "closes each channel.");
  g.equations = {cat("v = ", t.scale() == 0.5 ? "\u00bd " : "",
                     t.sides() == 2 ? "(s_{forward} + s_{reverse})" : "s", " \u2299 silu(z)")};
  g.shapes = {{"s, z, v", shape({L, E})}};
  const Matrix sides = sum(t.s[0], t.s[1]), z = t.xz.v.part(E, 2 * E);
  Matrix plain(L, E), open = z;
  for (double& v : open.data) v = silu(v);
  for (size_t i = 0; i < plain.data.size(); ++i)
    plain.data[i] = t.scale() * sides.data[i] * open.data[i];
  g.numbers = {head(cat("token ", view.token), "channel", 6)};
  for (int k = 0; k < t.sides(); ++k)
    g.numbers.push_back(row(cat("s, ", side_name(k)), t.s[k], view.token));
  g.numbers.push_back(row("silu(z)", open, view.token));
  g.numbers.push_back(row("v", t.v.v, view.token));
  g.places = {"scan", "gate_loop"};
  g.checks = {{"v", difference(t.v.v, plain)}};
  return g;
}

Stage out_proj(const Subject& s, const View& view) {
  const Trace& t = s.trace;
  const VimConfig& c = t.config;
  const int64_t E = c.inner(), D = c.embed_dim, L = t.n.v.rows;
  Stage g;
  g.text = cat(
      "Back to D = ", D, " channels. The next block adds h to the residual stream.",
      c.init_layer_scale ? " Layer scale multiplies each channel by a learned number first." : "");
  g.equations = {c.init_layer_scale ? "h = (v W_{out}^T) \u2299 \u03b3" : "h = v W_{out}^T"};
  g.shapes = {{"v", shape({L, E})}, {"W_{out}", shape({D, E})}, {"h", shape({L, D})}};
  g.numbers = {head("", "number", 6), row(cat("h, token ", view.token), t.mixed.v, view.token)};
  g.places = {"out_proj", "linear"};
  g.checks = {{c.init_layer_scale ? "v W^T" : "h",
               difference(t.out.v, linear(t.v.v, t.weight(t.mixer("out_proj.weight")),
                                          t.vector(t.mixer("out_proj.bias"))))}};
  if (c.init_layer_scale) {
    Matrix plain = t.out.v;
    const Vector gamma = t.vector(t.mixer("gamma"));
    for (size_t i = 0; i < plain.data.size(); ++i) plain.data[i] *= gamma[i % D];
    g.checks.push_back({"h", difference(t.mixed.v, plain)});
  }
  return g;
}

Stage layers(const Subject& s, const View& view) {
  const Trace& t = s.trace;
  const VimConfig& c = t.config;
  Stage g;
  g.text = cat(
      "The same block, ", c.depth,
      " times, each with weights of its own. The table says how large the "
      "stream r and each block's h are (root mean square). Behind the last block stands one more "
      "norm.");
  g.equations = {"r \u2190 r + h", norm_equation(c, "r", "y")};
  g.shapes = {{"y", shape({c.tokens(), c.embed_dim})}};
  g.numbers = {{"block", "r", "h"}};
  for (int i = 0; i < c.depth; ++i)
    g.numbers.push_back(
        {cat(i, i == t.layer ? " (shown)" : ""), number(t.layers[i].r), number(t.layers[i].h)});
  (void)view;
  g.places = {"layers", "final_norm"};
  g.checks = {
      {"y", difference(t.feature.v, norm(sum(t.last_h.v, t.last_r.v), t.vector("norm_f.weight"),
                                         t.vector("norm_f.bias"), c.norm_epsilon, !c.rms_norm))}};
  return g;
}

Stage classes(const Subject& s, const View&) {
  const Trace& t = s.trace;
  const VimConfig& c = t.config;
  const int64_t L = c.tokens(), D = c.embed_dim, C = c.num_classes;
  const bool most = bool(t.most.v);
  Stage g;
  std::vector<int64_t> which;  // the tokens that count; none: all
  for (int64_t l = 0; l < L; ++l)
    if (!class_token_at(c, l).empty()) which.push_back(l);
  if (!c.if_cls_token && c.final_pool_type == "none") which = {L - 1};
  g.text =
      most ? "Each token gets its logits; of each class the largest counts."
      : c.if_cls_token
          ? "The class token stands for the picture; a matrix makes a logit for each class of it."
      : which.empty()
          ? "The mean over all tokens stands for the picture; a matrix makes a logit for each "
            "class "
            "of it."
          : "The last token stands for the picture; a matrix makes a logit for each class of it.";
  if (most)
    g.equations = {"logit_c = max_t (y_t W_{head}^T + b)_c"};
  else
    g.equations = {which.empty() ? "f = 1/L \u03a3_t y_t" : "f = y of that token",
                   "logits = f W_{head}^T + b"};
  g.shapes = {{"y", shape({L, D})}, {"W_{head}", shape({C, D})}, {"logits", shape({C})}};
  Matrix pooled = t.feature.v;
  if (!most) {
    pooled = Matrix(1, D);
    for (int64_t l = 0; l < L; ++l)
      for (int64_t d = 0; d < D; ++d)
        if (which.empty() || std::find(which.begin(), which.end(), l) != which.end())
          pooled(0, d) +=
              t.feature.v(l, d) / static_cast<double>(which.empty() ? L : std::ssize(which));
    g.checks.push_back({"f", difference(t.pooled.v, pooled)});
  }
  const Matrix plain = linear(t.pooled.v, t.weight("head.weight"), t.vector("head.bias"));
  g.checks.push_back({"logits", difference(t.logits.v, plain)});
  const Matrix& logits = most ? t.most.v : t.logits.v;
  if (most) {
    Matrix largest(1, C, -INFINITY);
    for (int64_t l = 0; l < L; ++l)
      for (int64_t i = 0; i < C; ++i) largest(0, i) = std::max(largest(0, i), t.logits.v(l, i));
    g.checks.push_back({"largest logits", difference(t.most.v, largest)});
  }
  std::vector<int64_t> order(C);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t i, int64_t j) { return logits(0, i) > logits(0, j); });
  g.numbers = {{"class", "logit"}};
  for (int64_t i = 0; i < std::min<int64_t>(C, 5); ++i)
    g.numbers.push_back({s.class_names[order[i]], number(logits(0, order[i]))});
  g.places = {most             ? "pool_max"
              : which.empty()  ? "pool"
              : c.if_cls_token ? "pool_chosen"
                               : "pool_last",
              "head"};
  return g;
}

Stage loss(const Subject& s, const View&) {
  const Trace& t = s.trace;
  const Vector& logits = t.most.v ? t.most.v.data : t.logits.v.data;
  const Vector p = softmax(logits);
  const auto best = std::max_element(p.begin(), p.end()) - p.begin();
  Stage g;
  g.text =
      cat("Softmax makes probabilities of the logits; the loss is how surprising the right class "
          "is. Here "
          "that is ",
          s.class_names[t.target], " (", s.target_from, "), and the model says ",
          s.class_names[best], ".");
  g.equations = {"p = softmax(logits)", "loss = -log p_{target}"};
  g.shapes = {{"p", shape({std::ssize(p)})}, {"loss", "one number"}};
  g.numbers = {{"", "class", "p", "-log p"}};
  g.numbers.push_back({"target", s.class_names[t.target], number(p[t.target]), number(t.loss)});
  g.numbers.push_back({"answer", s.class_names[best], number(p[best]), number(-std::log(p[best]))});
  g.places = {"loss_loop"};
  // Against the largest of what it is a difference of: a loss near 0 has few digits left.
  const double most = *std::max_element(logits.begin(), logits.end());
  double all = 0, size = 1;
  for (const double v : logits) all += std::exp(v - most), size = std::max(size, std::abs(v));
  const double plain = most + std::log(all) - logits[t.target];
  g.checks = {{"loss", std::abs(t.loss - plain) / size}};
  if (!std::isfinite(t.loss)) g.checks[0].error = INFINITY;
  return g;
}

}  // namespace

std::vector<StageKind> forward_stages() {
  return {{"image", "The picture, as numbers", image},
          {"patches", "Patches", patches},
          {"position", "Tokens and their position", position},
          {"rope", "The residual stream, and RoPE", residual},
          {"norm", "Norm", normed},
          {"in_proj", "in_proj: two branches", in_proj},
          {"conv1d", "conv1d: a look at the neighbours", convolution},
          {"silu", "SiLU", silu_stage},
          {"x_proj", "x_proj: dt, B and C from the input", x_proj},
          {"delta", "\u0394: how long a step each token takes", delta},
          {"discretise", "Discretisation", discretise},
          {"scan", "The scan, token by token, both ways", scan},
          {"attention", "What the scan hears: its implied attention", attention},
          {"gate", "The gate", gate},
          {"out_proj", "out_proj", out_proj},
          {"layers", "All the layers, and the last norm", layers},
          {"head", "The head", classes},
          {"loss", "The loss", loss}};
}

}  // namespace krait::walk
