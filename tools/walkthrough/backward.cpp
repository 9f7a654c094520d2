// The stages from the loss back to the picture: the gradients of one block. A gradient is written
// d x: of the loss, by x. Each stage starts from the engine's gradient of its result.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "tools/walkthrough/stages.h"

namespace krait::walk {
namespace {

// What the gradient of the gated sum is to the sides and to z: of s (the same for both) and z.
struct GateGradients {
  Matrix s, z;
};
GateGradients gate_back(const Trace& t) {
  const int64_t E = t.config.inner(), L = t.v.v.rows;
  const Matrix z = t.xz.v.part(E, 2 * E), sides = sum(t.s[0], t.s[1]);
  GateGradients d{Matrix(L, E), Matrix(L, E)};
  for (size_t i = 0; i < d.s.data.size(); ++i) {
    const double dv = t.scale() * t.v.d.data[i];
    d.s.data[i] = dv * silu(z.data[i]);
    d.z.data[i] = dv * sides.data[i] * silu_slope(z.data[i]);
  }
  return d;
}
// The scan's gradients for its inputs k: for v1 those of both sides, added. A_log is by side.
struct ScanGradients {
  SideGradients of;
  Matrix A_log[2];
};
ScanGradients scan_gradients(const Trace& t, int k) {
  const Matrix ds = gate_back(t).s;
  ScanGradients g;
  g.of = scan_back(t.side(k), ds);
  g.A_log[k] = g.of.A_log;
  if (t.sides() > t.inputs()) {
    const SideGradients other = scan_back(t.side(1), ds);
    g.A_log[1] = other.A_log;
    g.of.u = sum(g.of.u, other.u), g.of.delta = sum(g.of.delta, other.delta);
    g.of.B = sum(g.of.B, other.B), g.of.C = sum(g.of.C, other.C);
    for (size_t e = 0; e < other.D.size(); ++e)
      g.of.D[e] += other.D[e], g.of.bias[e] += other.bias[e];
  }
  return g;
}

// The engine's gradient of a vector that not every model has.
void check_vector(Stage& g, const Trace& t, const std::string& what, const std::string& name,
                  const Vector& right) {
  const auto at = t.dweights.find(name);
  if (at != t.dweights.end())
    g.checks.push_back({what, difference(column(at->second.data), column(right))});
}

Stage d_loss(const Subject& s, const View&) {
  const Trace& t = s.trace;
  const VimConfig& c = t.config;
  const int64_t C = c.num_classes, D = c.embed_dim;
  const bool most = bool(t.most.v);
  const Value& logits = most ? t.most : t.logits;
  Stage g;
  g.text =
      "The way back begins: a class's logit should go up by what its probability lacks, and down "
      "by what "
      "it has too much. From there the head's own gradient, and what its input should have been.";
  g.equations = {"d logits = p - target", "d f = d logits W_{head},  d W_{head} = d logits^T f"};
  g.shapes = {{"d logits", shape({C})}, {"d f", shape({D})}, {"d W_{head}", shape({C, D})}};
  Vector d = softmax(logits.v.data);
  d[t.target] -= 1;
  g.numbers = {{"class", "p - target"}};
  std::vector<int64_t> order(C);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t i, int64_t j) { return std::abs(d[i]) > std::abs(d[j]); });
  for (int64_t i = 0; i < std::min<int64_t>(C, 4); ++i)
    g.numbers.push_back({s.class_names[order[i]], number(logits.d.data[order[i]])});
  const LinearGradients back = linear_back(t.logits.d, t.pooled.v, t.weight("head.weight"));
  g.places = {"d_loss", "d_linear_x", "d_linear_w"};
  g.checks = {{"d logits", difference(logits.d, one_row(d))},
              {"d f", difference(t.pooled.d, back.x)},
              {"d W_{head}", difference(t.dweights.at("head.weight"), back.w)},
              {"d b_{head}", difference(column(t.dweights.at("head.bias").data), column(back.b))}};
  return g;
}

Stage d_layers(const Subject& s, const View&) {
  const Trace& t = s.trace;
  const VimConfig& c = t.config;
  Stage g;
  g.text =
      "Block by block the gradient runs back, above all along the residual stream, which adds and "
      "so "
      "passes it on as it is. The table has its size by each block's r and h (root mean square). "
      "The engine "
      "keeps a list of what ran, the tape, and walks it from its end.";
  g.equations = {"d r = d r' + the norm's share,  d h = d r'     (r' = r + h)"};
  g.numbers = {{"block", "d r", "d h"}};
  for (int i = c.depth - 1; i >= 0; --i)
    g.numbers.push_back(
        {cat(i, i == t.layer ? " (shown)" : ""), number(t.layers[i].dr), number(t.layers[i].dh)});
  const Matrix r = sum(t.last_h.v, t.last_r.v);
  const NormGradients back =
      norm_back(t.feature.d, r, t.vector("norm_f.weight"), c.norm_epsilon, !c.rms_norm);
  g.places = {"tape", "d_norm_loop"};
  g.checks = {{"d r behind the last block", difference(t.last_r.d, back.x)},
              {"d h of the last block", difference(t.last_h.d, back.x)},
              {"d w of the last norm",
               difference(column(t.dweights.at("norm_f.weight").data), column(back.w))}};
  check_vector(g, t, "d b of the last norm", "norm_f.bias", back.b);
  return g;
}

Stage d_out_proj(const Subject& s, const View& view) {
  const Trace& t = s.trace;
  const VimConfig& c = t.config;
  const int64_t E = c.inner(), D = c.embed_dim, L = t.v.v.rows;
  Stage g;
  g.text =
      cat("Into block ", t.layer,
          ". A product with a matrix has two gradients: to what was multiplied, by the same matrix "
          "turned round, and to the matrix, a sum over all tokens.");
  g.equations = {"d v = d h W_{out}", "d W_{out} = d h^T v"};
  g.shapes = {{"d h", shape({L, D})}, {"d v", shape({L, E})}, {"d W_{out}", shape({D, E})}};
  const LinearGradients back = linear_back(t.out.d, t.v.v, t.weight(t.mixer("out_proj.weight")));
  g.numbers = {head(cat("token ", view.token), "number", 6), row("d h", t.out.d, view.token),
               row("d v", t.v.d, view.token)};
  g.places = {"out_proj", "d_linear_x", "d_linear_w"};
  if (c.init_layer_scale) {
    const Vector gamma = t.vector(t.mixer("gamma"));
    Matrix plain = t.mixed.d;
    Vector dgamma(D);
    for (size_t i = 0; i < plain.data.size(); ++i) {
      dgamma[i % D] += plain.data[i] * t.out.v.data[i];
      plain.data[i] *= gamma[i % D];
    }
    g.checks.push_back({"d h before layer scale", difference(t.out.d, plain)});
    g.checks.push_back(
        {"d \u03b3", difference(column(t.dweights.at(t.mixer("gamma")).data), column(dgamma))});
  }
  g.checks.push_back({"d v", difference(t.v.d, back.x)});
  g.checks.push_back({"d W_{out}", difference(t.dweights.at(t.mixer("out_proj.weight")), back.w)});
  check_vector(g, t, "d b_{out}", t.mixer("out_proj.bias"), back.b);
  return g;
}

Stage d_gate(const Subject& s, const View& view) {
  const Trace& t = s.trace;
  const int64_t E = t.config.inner(), L = t.v.v.rows;
  const GateGradients back = gate_back(t);
  const Matrix dz = t.xz.d.part(E, 2 * E);
  Stage g;
  g.text =
      "The gate is a product, so each factor's gradient has the other in it. Both sides get the "
      "same d s: "
      "they were added. (d s stays inside of the scan's kernel; here it is the plain loops'.)";
  const std::string half = t.scale() == 0.5 ? "\u00bd " : "";
  g.equations = {cat("d s = ", half, "d v \u2299 silu(z)"),
                 cat("d z = ", half, "d v \u2299 \u03a3 s \u2299 silu'(z)")};
  g.shapes = {{"d v, d s, d z", shape({L, E})}};
  g.numbers = {head(cat("token ", view.token), "channel", 6), row("d v", t.v.d, view.token),
               row("d s", back.s, view.token), row("d z", dz, view.token)};
  g.places = {"d_gate_loop"};
  g.checks = {{"d z", difference(dz, back.z)}};
  return g;
}

Stage d_scan(const Subject& s, const View& view) {
  const Trace& t = s.trace;
  const int64_t E = t.config.inner(), N = t.config.d_state, R = t.config.rank(), L = t.v.v.rows;
  Stage g;
  g.text =
      "The recurrence again, against its direction: \u03bb, the gradient of a state, starts at the "
      "walk's last "
      "token, decays by the same factors, and is fed by every result that heard the state. All "
      "else "
      "follows from it token by token.";
  g.equations = {"\u03bb_t = C_t d s_t + exp(\u0394_{t+1} A) \u03bb_{t+1}",
                 "d C_t = \u03a3_e d s_t h_t,  d B_t = \u03a3_e \u03bb_t \u0394_t u_t",
                 "d \u0394_t = \u03a3_n \u03bb_t (B_t u_t + A exp(\u0394_t A) h_{t-1}),  d \u03b4 "
                 "= d \u0394 sigmoid(\u03b4 + b_{dt})",
                 "d A_{log} = \u03a3_t \u03bb_t \u0394_t exp(\u0394_t A) h_{t-1} A,  d D = "
                 "\u03a3_t d s_t u_t"};
  g.shapes = {{"\u03bb", shape({L, E, N})},
              {"d B, d C", shape({L, N})},
              {"d \u03b4", shape({L, E})},
              {"d A_{log}, d D, d b_{dt}", shape({E, N}) + ", " + shape({E}) + ", " + shape({E})}};
  const int64_t few = std::min<int64_t>(6, N);
  g.numbers = {head("", "state", few)};
  for (int k = 0; k < t.inputs(); ++k) {
    const ScanGradients back = scan_gradients(t, k);
    const Matrix dB = t.x_dbl[k].d.part(R, R + N), dC = t.x_dbl[k].d.part(R + N, R + 2 * N);
    const std::string side = t.sides() > t.inputs() ? "both sides" : side_name(k);
    const std::string end = k ? "_b" : "";
    g.numbers.push_back(row(cat("d B of token ", view.token, ", ", side), dB, view.token, few));
    g.numbers.push_back(row(cat("d C of token ", view.token, ", ", side), dC, view.token, few));
    g.checks.push_back({cat("d \u03b4, ", side), difference(t.delta[k].d, back.of.delta)});
    g.checks.push_back({cat("d B, ", side), difference(dB, back.of.B)});
    g.checks.push_back({cat("d C, ", side), difference(dC, back.of.C)});
    for (int j = k; j < (t.inputs() == 2 ? k + 1 : t.sides()); ++j) {
      const Matrix& dA = t.dweights.at(t.mixer(j ? "A_b_log" : "A_log"));
      g.numbers.push_back(row(cat("d A_{log} of channel ", view.channel, ", ", side_name(j)), dA,
                              view.channel, few));
      g.checks.push_back({cat("d A_{log}, ", side_name(j)), difference(dA, back.A_log[j])});
    }
    g.checks.push_back(
        {cat("d D, ", side),
         difference(column(t.dweights.at(t.mixer("D" + end)).data), column(back.of.D))});
    g.checks.push_back({cat("d b_{dt}, ", side),
                        difference(column(t.dweights.at(t.mixer("dt_proj" + end + ".bias")).data),
                                   column(back.of.bias))});
  }
  g.places = {"d_scan_lambda", "d_scan_delta", "d_scan_decay"};
  return g;
}

Stage d_x_proj(const Subject& s, const View& view) {
  const Trace& t = s.trace;
  const int64_t E = t.config.inner(), N = t.config.d_state, R = t.config.rank(), L = t.v.v.rows;
  Stage g;
  g.text =
      "u went two ways: into the states, and into what the token chose (dt, B, C). Both gradients "
      "add. The "
      "second is what makes the selection learnable.";
  g.equations = {"d dt = d \u03b4 W_{dt},  d W_{dt} = d \u03b4^T dt",
                 "d u = the scan's share + [d dt | d B | d C] W_x",
                 "d W_x = [d dt | d B | d C]^T u"};
  g.shapes = {{"d dt", shape({L, R})}, {"d u", shape({L, E})}, {"d W_x", shape({R + 2 * N, E})}};
  g.numbers = {head(cat("token ", view.token), "channel", 6)};
  for (int k = 0; k < t.inputs(); ++k) {
    const std::string end = k ? "_b" : "", side = side_name(k);
    const Matrix scan_share = scan_gradients(t, k).of.u;
    const LinearGradients dt = linear_back(t.delta[k].d, t.x_dbl[k].v.part(0, R),
                                           t.weight(t.mixer("dt_proj" + end + ".weight")));
    const LinearGradients back =
        linear_back(t.x_dbl[k].d, t.u[k].v, t.weight(t.mixer("x_proj" + end + ".weight")));
    g.numbers.push_back(row(cat("scan's share, ", side), scan_share, view.token));
    g.numbers.push_back(row(cat("d u, ", side), t.u[k].d, view.token));
    g.checks.push_back({cat("d dt, ", side), difference(t.x_dbl[k].d.part(0, R), dt.x)});
    g.checks.push_back({cat("d W_{dt}, ", side),
                        difference(t.dweights.at(t.mixer("dt_proj" + end + ".weight")), dt.w)});
    g.checks.push_back({cat("d u, ", side), difference(t.u[k].d, sum(scan_share, back.x))});
    g.checks.push_back({cat("d W_x, ", side),
                        difference(t.dweights.at(t.mixer("x_proj" + end + ".weight")), back.w)});
  }
  g.places = {"x_proj", "d_linear_pair"};
  return g;
}

Stage d_conv1d(const Subject& s, const View& view) {
  const Trace& t = s.trace;
  const int64_t E = t.config.inner(), K = t.config.d_conv, L = t.v.v.rows;
  const Matrix x = t.xz.v.part(0, E), dx = t.xz.d.part(0, E);
  Stage g;
  g.text =
      "Through SiLU by its slope, then to each token that the convolution looked at, by the same "
      "taps. x "
      "went into both sides, so both gradients add.";
  g.equations = {"d q = d u \u2299 silu'(q)",
                 "d x_i = \u03a3_{sides} \u03a3_k w_k d q_{i+K-1-k}     (reverse: d q_{i-K+1+k})",
                 "d w_k = \u03a3_t d q_t x_{t-K+1+k},  d b = \u03a3_t d q_t"};
  g.shapes = {{"d q, d x", shape({L, E})}, {"d w, d b", shape({E, K}) + ", " + shape({E})}};
  Matrix plain;
  for (int k = 0; k < t.inputs(); ++k) {
    const std::string conv = t.mixer(k ? "conv1d_b" : "conv1d");
    Matrix dq = t.u[k].d;
    for (size_t i = 0; i < dq.data.size(); ++i) dq.data[i] *= silu_slope(t.q[k].data[i]);
    const ConvGradients back = conv1d_back(dq, x, t.weight(conv + ".weight"), k == 1);
    plain = sum(plain, back.x);
    const Matrix& dw = t.dweights.at(conv + ".weight");
    if (k == 0) g.numbers = {head("", "tap", K)};
    g.numbers.push_back(
        row(cat("d w of channel ", view.channel, ", ", side_name(k)), dw, view.channel, K));
    g.checks.push_back({cat("d w, ", side_name(k)), difference(dw, back.w)});
    check_vector(g, t, cat("d b, ", side_name(k)), conv + ".bias", back.b);
  }
  g.places = {"conv1d", "d_conv_loop"};
  g.checks.push_back({"d x", difference(dx, plain)});
  return g;
}

Stage d_in_proj(const Subject& s, const View& view) {
  const Trace& t = s.trace;
  const int64_t E = t.config.inner(), D = t.config.embed_dim, L = t.v.v.rows;
  const LinearGradients back = linear_back(t.xz.d, t.n.v, t.weight(t.mixer("in_proj.weight")));
  Stage g;
  g.text = "Both branches came out of one matrix; their gradients lie side by side, as they did.";
  g.equations = {"d n = [d x | d z] W_{in}", "d W_{in} = [d x | d z]^T n"};
  g.shapes = {{"d n", shape({L, D})}, {"d W_{in}", shape({2 * E, D})}};
  g.numbers = {head(cat("token ", view.token), "number", 6), row("d n", t.n.d, view.token)};
  g.places = {"in_proj", "d_linear_x", "d_linear_w"};
  g.checks = {{"d n", difference(t.n.d, back.x)},
              {"d W_{in}", difference(t.dweights.at(t.mixer("in_proj.weight")), back.w)}};
  check_vector(g, t, "d b_{in}", t.mixer("in_proj.bias"), back.b);
  return g;
}

Stage d_norm(const Subject& s, const View& view) {
  const Trace& t = s.trace;
  const VimConfig& c = t.config;
  const std::string layer = cat("layers.", t.layer, ".norm.");
  const NormGradients back =
      norm_back(t.n.d, t.r.v, t.vector(layer + "weight"), c.norm_epsilon, !c.rms_norm);
  Stage g;
  g.text = cat(
      "The block is a detour of the residual stream: what comes back through it is added to what "
      "came "
      "past it.",
      t.turns() ? " Then RoPE is undone: the gradient turns back by the same angles." : "",
      t.shared_input ? " This block shares its input with the next one, which walks it in reverse: "
                       "the sum of both shares is not checked here."
                     : "");
  g.equations = {c.rms_norm ? "norm's share = \u03c1 (g - n mean(g n)),  g = w \u2299 d n,  n = "
                              "\u03c1 r,  \u03c1 = 1 / sqrt(mean(r^2) + \u03b5)"
                            : "norm's share = \u03c1 (g - mean(g) - n mean(g n)),  g = w \u2299 d "
                              "n,  n = \u03c1 (r - mean(r))",
                 "d r \u2190 d r + norm's share", "d w = \u03a3_t d n_t n_t"};
  if (t.turns()) g.equations.push_back("d r, d h \u2190 R_t^T d r");
  g.shapes = {{"d r", shape({t.r.v.rows, c.embed_dim})}, {"d w", shape({c.embed_dim})}};
  const Matrix both = sum(t.r.d, back.x);
  g.numbers = {head(cat("token ", view.token), "number", 6),
               row("past the block", t.r.d, view.token),
               row("through the block", back.x, view.token), row("together", both, view.token)};
  g.places = {"residual", "d_norm_loop"};
  g.checks = {{"d w", difference(column(t.dweights.at(layer + "weight").data), column(back.w))}};
  check_vector(g, t, "d b", layer + "bias", back.b);
  if (!t.shared_input) {
    const int G = c.img_size / c.patch_size;
    const Matrix turned = t.turns() ? rotate(both, G, c.pt_hw_seq_len, -1) : both;
    g.checks.push_back({"d r before the block", difference(t.r_in.d, t.turns_r() ? turned : both)});
    if (t.h_in.v)
      g.checks.push_back(
          {"d h of the block before", difference(t.h_in.d, t.turns_h() ? turned : both)});
  }
  return g;
}

Stage saliency(const Subject& s, const View&) {
  const Trace& t = s.trace;
  const VimConfig& c = t.config;
  const int64_t S = c.img_size, K = 3 * c.patch_size * c.patch_size;
  const Patches cutter{3, c.img_size, c.patch_size, c.stride};
  const Matrix cut = cutter.cut(t.image);
  const LinearGradients back = linear_back(t.patches.d, cut, t.weight("patch_embed.proj.weight"));
  Stage g;
  g.text =
      "All the way to the picture: which pixels would change the loss most, if they changed a "
      "little. That is all a gradient says: a patch may matter and still have a small one.";
  g.equations = {"d image = d patches W_{patch}, put back where the patches were cut out"};
  g.shapes = {{"d patches", shape({c.patches(), c.embed_dim})},
              {"d image", shape({3, S, S})},
              {"d W_{patch}", shape({c.embed_dim, K})}};
  const Matrix pieces = cutter.cut(t.dimage);
  std::vector<double> size(pieces.rows);
  for (int64_t i = 0; i < pieces.rows; ++i)
    for (int64_t j = 0; j < K; ++j) size[i] += std::abs(pieces(i, j)) / static_cast<double>(K);
  std::vector<int64_t> order(pieces.rows);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t i, int64_t j) { return size[i] > size[j]; });
  g.numbers = {{"patch", "row", "column", "mean |d pixel|"}};
  for (int64_t i = 0; i < std::min<int64_t>(5, pieces.rows); ++i)
    g.numbers.push_back({cat(order[i]), cat(order[i] / c.grid()), cat(order[i] % c.grid()),
                         number(size[order[i]])});
  g.places = {"patch_embed", "d_patch_loop"};
  g.checks = {{"d image", difference(column(t.dimage), column(cutter.put_back(back.x)))},
              {"d W_{patch}", difference(t.dweights.at("patch_embed.proj.weight"), back.w)}};
  check_vector(g, t, "d b_{patch}", "patch_embed.proj.bias", back.b);
  // A token is a patch, or a class token, and its position: each has the token's gradient.
  check_vector(g, t, "d position", "pos_embed", t.tokens.d.data);
  const int64_t P = c.patches(), D = c.embed_dim;
  Matrix rest(P, D);
  int64_t patch = 0;
  for (int64_t l = 0; l < c.tokens(); ++l) {
    const Vector d(t.tokens.d.data.begin() + l * D, t.tokens.d.data.begin() + (l + 1) * D);
    const std::string cls = class_token_at(c, l);
    if (cls.empty())
      std::copy(d.begin(), d.end(), rest.data.begin() + patch++ * D);
    else
      check_vector(g, t, "d class token", cls, d);
  }
  g.checks.push_back({"d patches", difference(t.patches.d, rest)});
  return g;
}

}  // namespace

std::vector<StageKind> backward_stages() {
  return {{"d_loss", "Back: the loss and the head", d_loss},
          {"d_layers", "Back through the layers", d_layers},
          {"d_out_proj", "Back: out_proj", d_out_proj},
          {"d_gate", "Back: the gate", d_gate},
          {"d_scan", "Back: the scan", d_scan},
          {"d_x_proj", "Back: x_proj and dt_proj", d_x_proj},
          {"d_conv1d", "Back: conv1d and SiLU", d_conv1d},
          {"d_in_proj", "Back: in_proj", d_in_proj},
          {"d_norm", "Back: norm, RoPE and the residual stream", d_norm},
          {"saliency", "Back to the pixels: saliency", saliency}};
}

}  // namespace krait::walk
