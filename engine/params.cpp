// ParamStore: the layout of the flat blocks, how parameters start, and which weights are computed
// with.
#include "engine/params.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/common/clip.h"
#include "kernels/common/random.h"
#include "kernels/elementwise/elementwise.h"

namespace krait {
namespace {

// To rate_span, 64 elements: 128 bytes even in bf16, as wide accesses and cuBLASLt's fastest
// kernels want.
int64_t padded(int64_t n) {
  return (n + rate_span - 1) / rate_span * rate_span;
}

// In (0, 1), never its ends.
double open01(uint32_t word) {
  return (static_cast<double>(word) + 0.5) * 0x1p-32;
}

// Element `index` of parameter `number`.
double initial(const Param& p, uint64_t seed, uint64_t number, uint64_t index) {
  constexpr auto stream = static_cast<uint32_t>(Draw::init);
  const double a = p.init.a, b = p.init.b;
  switch (p.init.kind) {
    case Init::constant:
      return a;
    case Init::a_log:
      return std::log(1.0 + static_cast<double>(index % static_cast<uint64_t>(p.shape[-1])));
    case Init::uniform:
      return a * (2 * open01(philox(seed, stream, number, index).word[0]) - 1);
    case Init::normal:
      for (uint64_t attempt = 0;; ++attempt) {  // Box & Muller 1958
        const Random4 r = philox(seed, stream, number, index | attempt << 48);
        const double z = std::sqrt(-2 * std::log(open01(r.word[0]))) *
                         std::cos(2 * std::numbers::pi * open01(r.word[1]));
        if (b <= 0 || std::abs(z) <= b) return a * z;
      }
    case Init::dt_bias: {
      const double u = open01(philox(seed, stream, number, index).word[0]);
      const double dt = std::max(std::exp(u * (std::log(b) - std::log(a)) + std::log(a)), 1e-4);
      return dt + std::log(-std::expm1(-dt));  // softplus of this is dt
    }
  }
  return 0;
}

// to = from, converted.
void copy_block(Context& ctx, const Tensor& from, const Tensor& to) {
  ctx.launch(Add{.dtype = to.dtype(),
                 .a_dtype = from.dtype(),
                 .b_dtype = from.dtype(),
                 .n = from.count(),
                 .scale = 1,
                 .a = from.data(),
                 .b = nullptr,
                 .y = to.data()});
}

}  // namespace

ParamStore::ParamStore(const std::function<void(ParamStore&)>& declare) {
  declare(*this);
  declaring_ = false;
  for (bool decay : {true, false}) {
    for (Param& p : params_)
      if (p.decay == decay) {
        p.offset = total_;
        total_ += padded(p.shape.count());
      }
    if (decay) decayed_ = total_;
  }
}

Tensor ParamStore::get(const std::string& name, Shape shape, Init init, bool keep_f32) {
  if (declaring_) {
    KRAIT_CHECK(number_.emplace(name, params_.size()).second, "parameter ", name,
                " is declared twice");
    params_.push_back({.name = name,
                       .shape = shape,
                       .init = init,
                       .decay = decays(name, shape),
                       .keep_f32 = keep_f32 || shape.rank <= 1});
    return {};
  }
  const auto at = number_.find(name);
  KRAIT_CHECK(at != number_.end(), "there is no parameter ", name);
  KRAIT_CHECK(!tensors_.empty(), "parameter ", name, " is asked for before allocate()");
  const Param& p = params_[at->second];
  KRAIT_CHECK(p.shape == shape, "parameter ", name, " is ", p.shape, ", asked for as ", shape);
  return tensors_[at->second];
}

void ParamStore::allocate(Context& ctx, DType compute, Blocks blocks) {
  compute_ = compute;
  using_ema_ = false;
  rates_.clear();
  rate_table_ = {};
  for (Tensor& b : blocks_) b = {};
  const auto make = [&](Role role, DType type) { block(role) = ctx.persistent({total_}, type); };
  const DType wide = accum(compute);
  make(Role::master, wide);
  if (blocks.gradients) make(Role::gradient, wide);
  if (blocks.moments) make(Role::moment1, wide);
  if (blocks.moments && blocks.second_moment) make(Role::moment2, wide);
  if (blocks.ema) make(Role::ema, wide);
  if (compute == DType::bf16) make(Role::copy, compute);
  point_tensors();
}

void ParamStore::point_tensors() {
  const Role wide = using_ema_ ? Role::ema : Role::master;
  tensors_.clear();
  for (const Param& p : params_)
    tensors_.push_back(part(flat(Role::copy) && !p.keep_f32 ? Role::copy : wide, p));
}

void ParamStore::initialise(Context& ctx, uint64_t seed) {
  const Tensor& master = flat(Role::master);
  KRAIT_CHECK(master, "initialise before allocate()");
  dispatch_float(master.dtype(), [&]<class T>() {
    std::vector<T> values(total_, T(0.0f));
    for (size_t k = 0; k < params_.size(); ++k) {
      const Param& p = params_[k];
      const int64_t n = p.shape.count();
#pragma omp parallel for schedule(static)
      for (int64_t i = 0; i < n; ++i)  // through float, so that f64 starts from the same numbers
        values[p.offset + i] = T(static_cast<float>(initial(p, seed, k, i)));
    }
    ctx.upload(master, values.data(), values.size() * sizeof(T));
  });
  for (Role role : {Role::gradient, Role::moment1, Role::moment2})
    if (flat(role)) ctx.fill(flat(role), 0);
  if (flat(Role::ema)) copy_block(ctx, master, flat(Role::ema));
  refresh_copy(ctx);
}

void ParamStore::watch(Tape& tape) {
  KRAIT_CHECK(flat(Role::gradient), "watch: gradients are not allocated");
  KRAIT_CHECK(!using_ema_, "watch: the model computes with its average");
  for (size_t k = 0; k < params_.size(); ++k)
    if (!frozen(params_[k])) tape.watch(tensors_[k], part(Role::gradient, params_[k]));
}

void ParamStore::set_rates(Context& ctx, const std::vector<float>& rates) {
  KRAIT_CHECK(rates.size() == params_.size() && flat(Role::master), "set_rates: ", rates.size(),
              " rates for ", params_.size(), " parameters, or before allocate()");
  rates_ = rates;
  std::vector<float> table(total_ / rate_span, 1.0f);
  for (size_t k = 0; k < params_.size(); ++k)
    std::fill_n(table.begin() + params_[k].offset / rate_span,
                padded(params_[k].shape.count()) / rate_span, rates[k]);
  rate_table_ = ctx.persistent({std::max<int64_t>(1, total_ / rate_span)}, DType::f32);
  ctx.upload(rate_table_, table.data(), table.size() * sizeof(float));
}

bool ParamStore::frozen(const Param& p) const {
  return !rates_.empty() && rates_[number_.at(p.name)] == 0;
}

void ParamStore::refresh_copy(Context& ctx) {
  if (flat(Role::copy))
    copy_block(ctx, flat(using_ema_ ? Role::ema : Role::master), flat(Role::copy));
}

void ParamStore::use_ema(Context& ctx, bool on) {
  KRAIT_CHECK(!on || flat(Role::ema), "use_ema: the average is not allocated");
  if (on == using_ema_) return;
  using_ema_ = on;
  point_tensors();
  refresh_copy(ctx);
}

const Param* ParamStore::find(const std::string& name) const {
  const auto at = number_.find(name);
  return at == number_.end() ? nullptr : &params_[at->second];
}

int64_t ParamStore::count() const {
  int64_t n = 0;
  for (const Param& p : params_) n += p.shape.count();
  return n;
}

Tensor ParamStore::part(Role role, const Param& p) const {
  const Tensor& whole = flat(role);
  if (!whole) return {};
  std::byte* const first = static_cast<std::byte*>(whole.data()) +
                           p.offset * static_cast<int64_t>(size_of(whole.dtype()));
  return {std::shared_ptr<std::byte>(whole.memory(), first), p.shape, whole.dtype()};
}

}  // namespace krait
