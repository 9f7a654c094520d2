// A small Vision Mamba with random weights, for tests, and every switch it has.
#pragma once

#include <omp.h>

#include "models/vim/vim.h"
#include "tests/support.h"

namespace krait {

using Role = ParamStore::Role;

inline ParamStore declared(const VimConfig& c, MixerInit init = MixerInit::repaired) {
  return ParamStore([&](ParamStore& s) { vim_weights(c, s, init); });
}

// Models this small are not worth a second thread; where cores are shared, waiting for it would
// take most of the time.
struct OneThread {
  int before = omp_get_max_threads();
  OneThread() { omp_set_num_threads(1); }
  OneThread(const OneThread&) = delete;
  ~OneThread() { omp_set_num_threads(before); }
};

// Four patches of 4 x 4 pixels, two layers.
inline VimConfig small() {
  VimConfig c;
  c.img_size = 8;
  c.depth = 2;
  c.embed_dim = 8;
  c.d_state = 3;
  c.num_classes = 3;
  return c;
}

// A model with random weights, two random pictures and their targets.
struct Model {
  OneThread alone;
  VimConfig config;
  Context ctx{Backend::cpu};
  ParamStore store;
  RopeTable table;
  Tensor images, targets;  // (2, 3, S, S), (2, C)
  StepState state;

  explicit Model(const VimConfig& c, DType type = DType::f64, bool training = false)
      : config(c), store(declared(c)) {
    check(c);
    std::mt19937 random(5);
    // Through float, so that f32 and f64 start from the same numbers.
    auto number = [&](double low, double high) {
      return static_cast<double>(
          static_cast<float>(std::uniform_real_distribution<double>(low, high)(random)));
    };
    store.allocate(ctx, type, {.gradients = true});
    store.initialise(ctx, 1);
    // Away from every special value (a bias of 0, a D of 1), where a mistake could hide; and steps
    // dt of about 0.5, so that the scan has a large part in the result.
    std::vector<double> v = ctx.values(store.flat(Role::master));
    for (const Param& p : store.all()) {
      const double more = p.name.find("dt_proj") != std::string::npos && p.shape.rank == 1 ? 4 : 0;
      for (int64_t i = 0; i < p.shape.count(); ++i)
        v[p.offset + i] = static_cast<float>(v[p.offset + i] + more + number(-0.6, 0.6));
    }
    ctx.set(store.flat(Role::master), v);
    table = rope_table(ctx, c, accum(type));
    images = ctx.persistent({2, c.channels, c.img_size, c.img_size}, type);
    targets = ctx.persistent({2, c.num_classes}, accum(type));
    for (const Tensor& t : {images, targets}) {
      std::vector<double> x(t.count());
      for (double& e : x) e = t.data() == images.data() ? number(-1, 1) : number(0, 1);
      ctx.set(t, x);
    }
    ctx.state = &state;
    ctx.training = training;
    ctx.reserve(ctx.measure([&] { gradients(); }));
  }
  Tensor logits(VimKept* kept = nullptr) {
    return vim(ctx, config, vim_weights(config, store), table, images, kept);
  }
  Tensor loss() {
    Tensor y = logits();
    if (y.shape().rank == 3) y = mean_tokens(ctx, y);  // final_pool_type all
    return cross_entropy(ctx, y, targets);
  }
  void gradients() {
    ctx.fill(store.flat(Role::gradient), 0);
    Tape tape;
    auto recording = ctx.record(tape);
    store.watch(tape);
    tape.backward(ctx, loss());
  }
  std::vector<double> logit_values() { return ctx.values(logits()); }
  double size_of_gradient(const std::string& name) {
    double s = 0;
    for (double g : ctx.values(store.part(Role::gradient, *store.find(name)))) s += g * g;
    return std::sqrt(s);
  }
};

// Every switch of the model, away from small().
using Change = void (*)(VimConfig&);
inline const std::vector<std::pair<std::string, Change>>& switches() {
  static const std::vector<std::pair<std::string, Change>> all = {
      {"bimamba v2", [](VimConfig&) {}},
      {"bimamba none", [](VimConfig& c) { c.bimamba_type = "none"; }},
      {"bimamba v1", [](VimConfig& c) { c.bimamba_type = "v1"; }},
      {"divide out", [](VimConfig& c) { c.if_divide_out = true; }},
      {"layer norm", [](VimConfig& c) { c.rms_norm = false; }},
      {"class token at the head", [](VimConfig& c) { c.if_cls_token = true; }},
      {"class token in the middle",
       [](VimConfig& c) { c.if_cls_token = c.use_middle_cls_token = true; }},
      {"class token at both ends",
       [](VimConfig& c) { c.if_cls_token = c.use_double_cls_token = true; }},
      {"pool none", [](VimConfig& c) { c.final_pool_type = "none"; }},
      {"pool max", [](VimConfig& c) { c.final_pool_type = "max"; }},
      {"pool all", [](VimConfig& c) { c.final_pool_type = "all"; }},
      {"pairs", [](VimConfig& c) { c.if_bidirectional = true; }},
      {"pairs of one-directional layers, RoPE",
       [](VimConfig& c) {
         c.if_bidirectional = c.if_rope = c.if_rope_residual = true;
         c.bimamba_type = "none";
         c.depth = 4;
       }},
      {"layer scale", [](VimConfig& c) { c.init_layer_scale = 0.5; }},
      {"overlapping patches", [](VimConfig& c) { c.stride = 2; }},
      {"overlapping patches, class token in the middle",
       [](VimConfig& c) {
         c.stride = 2;
         c.if_cls_token = c.use_middle_cls_token = c.if_divide_out = true;
       }},
      {"gaps between patches", [](VimConfig& c) { c.patch_size = 2, c.stride = 3; }},
      {"RoPE", [](VimConfig& c) { c.if_rope = true; }},
      {"RoPE, on the residual too", [](VimConfig& c) { c.if_rope = c.if_rope_residual = true; }},
      {"RoPE, class token at the head",
       [](VimConfig& c) { c.if_rope = c.if_rope_residual = c.if_cls_token = true; }},
      {"no position embedding", [](VimConfig& c) { c.if_abs_pos_embed = false; }},
      {"1 state", [](VimConfig& c) { c.d_state = 1; }},
      {"5 states", [](VimConfig& c) { c.d_state = 5; }},
      {"2 taps", [](VimConfig& c) { c.d_conv = 2; }},
      {"8 taps, more than tokens", [](VimConfig& c) { c.d_conv = 8; }},
      {"dt of rank 3", [](VimConfig& c) { c.dt_rank = 3; }},
      {"expand 1", [](VimConfig& c) { c.expand = 1; }},
      {"biases of the projections", [](VimConfig& c) { c.bias = true; }},
      {"no bias of the convolution", [](VimConfig& c) { c.conv_bias = false; }},
      {"convolutional stem", [](VimConfig& c) { c.stem = "conv", c.stem_width = 3; }},
      {"convolutional stem, two residual blocks, patches of 2",
       [](VimConfig& c) {
         c.stem = "conv", c.stem_width = 5, c.stem_depth = 2;
         c.img_size = 4, c.patch_size = c.stride = 2;
       }},
      {"3 x 3 mixer convolution", [](VimConfig& c) { c.mixer_conv = "2d", c.d_conv = 3; }},
      {"3 x 3 mixer convolution without bias, one direction",
       [](VimConfig& c) {
         c.mixer_conv = "2d", c.d_conv = 3;
         c.conv_bias = false, c.bimamba_type = "none";
       }},
      {"columns in every second layer", [](VimConfig& c) { c.scan_order = "alternate"; }},
      {"columns in every second pair, RoPE",
       [](VimConfig& c) {
         c.scan_order = "alternate";
         c.if_bidirectional = c.if_rope = c.if_rope_residual = true;
         c.depth = 4;
       }},
      {"convolutional stem, 3 x 3 mixer convolution, columns",
       [](VimConfig& c) {
         c.stem = "conv", c.stem_width = 4, c.stem_depth = 1;
         c.mixer_conv = "2d", c.d_conv = 3, c.scan_order = "alternate";
         c.img_size = 12;
       }},
      {"odd width", [](VimConfig& c) { c.embed_dim = 7, c.depth = 1; }},
  };
  return all;
}

}  // namespace krait
