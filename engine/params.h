// All parameters of a model as named ranges of a few flat blocks: master, gradient, the two Adam
// moments, EMA, and a bf16 copy for computing. So the optimiser is one launch, the gradient norm
// one reduction, and a checkpoint a write of ranges.
#pragma once

#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/context.h"

namespace krait {

// How a parameter starts. Random values come from philox(seed, Draw::init, parameter number,
// index), computed on the host: the same for every backend and precision.
struct Init {
  enum Kind : uint8_t {
    constant,  // a
    normal,    // N(0, a^2), cut at +-b standard deviations when b > 0
    uniform,   // U(-a, a)
    a_log,     // log(1 .. N) along the last dimension: A = -(1 .. N)
    dt_bias,   // inverse softplus of a log-uniform dt in [a, b], at least 1e-4
  };
  Kind kind = constant;
  double a = 0, b = 0;
};

struct Param {
  std::string name;  // as in the published checkpoints: "layers.0.mixer.conv1d_b.weight"
  Shape shape;
  Init init;
  bool decay = true;      // weight decay applies
  bool keep_f32 = false;  // computed with in accum even when activations are bf16
  int64_t offset = 0;     // first element in every flat block: a multiple of 64
};

class ParamStore {
 public:
  // `declare` enumerates the parameters through get(), in the order of the published checkpoint.
  // It is run once now, to learn names and shapes; nothing is allocated.
  explicit ParamStore(const std::function<void(ParamStore&)>& declare);

  // While declaring: notes the parameter, returns an empty tensor. After allocate(): the tensor to
  // compute with, which carries its place on the tape after watch(). It is a part of the bf16 copy,
  // or of master for parameters of rank 1 and those declared with keep_f32.
  Tensor get(const std::string& name, Shape shape, Init init, bool keep_f32 = false);

  struct Blocks {
    bool gradients = false, moments = false, ema = false;
    bool second_moment = true;  // of the moments: Adam's; SGD has one
  };
  // `compute`: the type of activations. Master and everything else is accum(compute).
  void allocate(Context& ctx, DType compute, Blocks blocks);
  void initialise(Context& ctx, uint64_t seed);  // master, EMA and the bf16 copy; moments are zero
  void watch(Tape& tape);                        // gradients go to their own memory, added
  void refresh_copy(Context& ctx);               // master -> bf16 copy, after writing to master
  // Each parameter's share of the learning rate, in the order of all(); 0 freezes it: it gets no
  // gradient, and nothing changes it. allocate() makes them all 1.
  void set_rates(Context& ctx, const std::vector<float>& rates);
  // The kernels' table of them, in device memory; null: all are 1.
  const float* rates() const { return rate_table_ ? rate_table_.as<float>() : nullptr; }
  bool frozen(const Param& p) const;
  // get() gives the EMA weights (for evaluation), or the master's again. The master stays as it is.
  void use_ema(Context& ctx, bool on);
  bool using_ema() const { return using_ema_; }

  const std::vector<Param>& all() const { return params_; }  // in the order declared
  const Param* find(const std::string& name) const;
  int64_t count() const;  // parameters of the model, without padding

  // Flat blocks (total) and one parameter's part of them, in its own shape. Empty if not allocated.
  enum class Role : uint8_t { master, gradient, moment1, moment2, ema, copy };
  const Tensor& flat(Role role) const { return blocks_[static_cast<int>(role)]; }
  Tensor part(Role role, const Param& p) const;
  int64_t total() const { return total_; }      // elements of a flat block, padding included
  int64_t decayed() const { return decayed_; }  // the first so many of them decay
  DType compute_dtype() const { return compute_; }

 private:
  Tensor& block(Role role) { return blocks_[static_cast<int>(role)]; }
  void point_tensors();
  std::vector<Param> params_;
  std::unordered_map<std::string, size_t> number_;  // name -> place in params_
  std::vector<Tensor> tensors_;                     // to compute with; empty before allocate()
  Tensor blocks_[6];
  std::vector<float> rates_;  // of each parameter; empty: all are 1
  Tensor rate_table_;         // (total / rate_span) f32
  int64_t total_ = 0, decayed_ = 0;
  DType compute_ = DType::f32;
  bool declaring_ = true, using_ema_ = false;
};

// The published recipe's rule: everything of rank 1, every bias, position and class tokens have no
// weight decay. A_log does decay. (timm's param_groups_weight_decay; see models/vim/README.md)
bool decays(const std::string& name, const Shape& shape);

}  // namespace krait
