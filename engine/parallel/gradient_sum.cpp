// Buckets, and when each is sent.
#include "engine/parallel/gradient_sum.h"

#include <algorithm>
#include <numeric>

namespace krait {
namespace {

using Role = ParamStore::Role;

// Where the parameters lie in the flat block: numbers of params.all(), and their ends.
std::vector<size_t> in_order(const ParamStore& params) {
  std::vector<size_t> order(params.all().size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return params.all()[a].offset < params.all()[b].offset; });
  return order;
}

}  // namespace

std::vector<Bucket> make_buckets(const ParamStore& params, const std::vector<int64_t>& last_write,
                                 int64_t elements) {
  const std::vector<size_t> order = in_order(params);
  std::vector<Bucket> buckets;
  Bucket now{.ready = -1};
  auto close = [&] {
    if (now.ready >= 0) buckets.push_back(now);
    now = {.first = now.first + now.count, .ready = -1};
  };
  for (size_t k = 0; k < order.size(); ++k) {
    const int64_t end = k + 1 < order.size() ? params.all()[order[k + 1]].offset : params.total();
    const int64_t begin = params.all()[order[k]].offset;
    // What decays and what does not is apart: either is ready from its end to its start.
    if (now.count > 0 && (end - now.first > elements || begin == params.decayed())) close();
    now.count = end - now.first;
    now.ready = std::max(now.ready, last_write[order[k]]);
  }
  close();
  std::sort(buckets.begin(), buckets.end(), [](const Bucket& a, const Bucket& b) {
    return a.ready != b.ready ? a.ready < b.ready : a.first > b.first;
  });
  return buckets;
}

GradientSum::GradientSum(Context& ctx, std::unique_ptr<Sum> sum, const ParamStore& params,
                         int64_t elements)
    : ctx_(ctx), params_(params), elements_(elements), sum_(std::move(sum)) {
  const Tensor& flat = params.flat(Role::gradient);
  KRAIT_CHECK(sum_ && flat && flat.dtype() == DType::f32, "GradientSum: gradients are ",
              name_of(flat.dtype()), ", or nobody adds them up");
  by_offset_ = in_order(params);
}
GradientSum::~GradientSum() = default;

void GradientSum::start(Tape& tape, const Tensor& loss, bool gradients) {
  watching_ = gradients;
  if (gradients) {
    tape.set_watcher(this);
    step_ = 0;
    begun_ = 0;
    if (ctx_.measuring()) {
      last_write_.assign(params_.all().size(), -1);
      buckets_.clear();
    } else if (buckets_.empty()) {
      KRAIT_CHECK(!last_write_.empty(), "GradientSum: the step was not measured before it ran");
      buckets_ = make_buckets(params_, last_write_, elements_);
    }
  }
  if (!ctx_.measuring()) sum_->start(loss.as<float>(), 1);
}

void GradientSum::written(const void* gradient) {
  const int64_t at = static_cast<const float*>(gradient) - params_.flat(Role::gradient).as<float>();
  const auto after =
      std::upper_bound(by_offset_.begin(), by_offset_.end(), at,
                       [&](int64_t offset, size_t k) { return offset < params_.all()[k].offset; });
  KRAIT_CHECK(after != by_offset_.begin() && at < params_.total(),
              "GradientSum: a gradient that is not in the flat block");
  const size_t k = *(after - 1);
  if (ctx_.measuring())
    last_write_[k] = step_;
  else
    KRAIT_CHECK(step_ <= last_write_[k], "the gradient of ", params_.all()[k].name,
                " is written again after it was sent");
}

void GradientSum::step_over() {
  auto ready = [&] { return begun_ < buckets_.size() && buckets_[begun_].ready <= step_; };
  if (!ctx_.measuring() && ready()) {
    ctx_.wait_beside();  // gradients of weights may still be computed there
    for (; ready(); ++begun_)
      sum_->start(params_.flat(Role::gradient).as<float>() + buckets_[begun_].first,
                  buckets_[begun_].count);
  }
  ++step_;
}

void GradientSum::finish() {
  if (ctx_.measuring()) return;
  KRAIT_CHECK(!watching_ || begun_ == buckets_.size(), "GradientSum: ", begun_, " of ",
              buckets_.size(), " buckets were sent");
  sum_->finish();
}

}  // namespace krait
