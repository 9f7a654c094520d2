// One picture's way through a Vision Mamba and back, as the engine computes it: the value of every
// op that the walk-through shows, and the gradient of the loss by it.
#pragma once

#include <map>
#include <string>

#include "models/vim/vim.h"
#include "tools/walkthrough/loops.h"

namespace krait::walk {

struct Value {
  Matrix v, d;  // the value, and the gradient of the loss by it; empty if there is none
};

struct Trace {
  VimConfig config;
  int layer = 0;                                    // of the block that is shown
  std::map<std::string, Matrix> weights, dweights;  // (first dimension, the others) by their names
  Vector image, dimage;                             // (channels, S, S), normalised
  int target = 0;

  Value patches, tokens;  // (P, D), (L, D)

  // The block. Sides: forward, reverse.
  Value h_in, r_in;             // (L, D): before rotation; no h before the first block
  bool shared_input = false;    // h_in and r_in go into another block too (if_bidirectional)
  Value r, n;                   // (L, D): the residual stream, and its normed rows
  Value xz;                     // (L, 2 E)
  Matrix q[2];                  // (L, E): the convolution before SiLU
  Value u[2], x_dbl[2];         // (L, E), (L, R + 2 N); for v1 the second is empty
  Value delta[2];               // (L, E): before bias and softplus
  Matrix Delta[2], h[2], s[2];  // (L, E), (L, E N), (L, E): step, states, and C h + D u
  Value v, out,
      mixed;  // (L, E): gated; (L, D): after out_proj, and after layer scale if it is there

  struct Layer {
    double r = 0, h = 0, dr = 0, dh = 0;  // root mean squares after each block
  };
  std::vector<Layer> layers;
  Value last_h, last_r, feature;  // (L, D): into the final norm, and its result
  Value pooled, logits;           // (1, D), (1, C); pool max has (L, D), (L, C) and `most`
  Value most;                     // (1, C): the largest over tokens
  double loss = 0;

  int sides() const { return config.bimamba_type == "none" ? 1 : 2; }
  int inputs() const { return config.bimamba_type == "v2" ? 2 : 1; }  // u, x_dbl, delta
  double scale() const { return config.bimamba_type == "v2" && config.if_divide_out ? 0.5 : 1; }
  bool turns() const;  // the layer's input is rotated by RoPE: h, or r, or both
  bool turns_h() const { return turns() && bool(h_in.v); }
  bool turns_r() const { return turns() && (!h_in.v || config.if_rope_residual); }
  const Matrix& weight(const std::string& name) const { return weights.at(name); }
  Vector vector(const std::string& name) const;      // empty if the model has no such parameter
  std::string mixer(const std::string& name) const;  // its full name in the layer shown
  // Side k as plain numbers: the engine's u, delta, B, C, and the checkpoint's A_log, D, bias.
  Side side(int k) const;
};

// The parameter that stands at place `token` of the sequence, "" for a patch.
std::string class_token_at(const VimConfig& config, int64_t token);

// InputError in one line if the walk-through cannot show such a model, or layer.
void check_can_show(const VimConfig& config, int layer);

// Runs the model on `image` (channels, S, S) with parameters of `role` (master or ema), f32 on the
// CPU, and back from the cross-entropy with class `target`; -1: the class that the model finds most
// probable. The store has gradients.
Trace trace_model(Context& ctx, const VimConfig& config, ParamStore& store, ParamStore::Role role,
                  const Vector& image, int target, int layer);

}  // namespace krait::walk
