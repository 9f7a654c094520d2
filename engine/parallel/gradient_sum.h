// Adds the gradients of all ranks up while the backward pass still runs (Li et al. 2020, "PyTorch
// Distributed", sec. 3.2): the flat block of gradients is cut into buckets, and a bucket is on its
// way as soon as the last gradient in it has been written.
#pragma once

#include <vector>

#include "engine/parallel/ranks.h"
#include "engine/params.h"

namespace krait {

// Elements [first, first + count) of the flat block of gradients.
struct Bucket {
  int64_t first = 0, count = 0;
  int64_t ready = 0;  // the number of the backward step after which none of them is written again
  bool operator==(const Bucket&) const = default;
};

// Cuts the block at borders of parameters into buckets of at most `elements` (a larger parameter is
// alone), in the order in which they are ready. `last_write`: for each of params.all(), the number
// of the last backward step that writes its gradient; -1: none. A bucket that nobody writes to is
// left out.
std::vector<Bucket> make_buckets(const ParamStore& params, const std::vector<int64_t>& last_write,
                                 int64_t elements);

// When a gradient is complete is found out by Context::measure, which runs the same steps: what a
// step writes does not depend on its numbers. So re-made layers, frozen parameters and parameters
// that are used twice need nothing said about them.
class GradientSum : public Tape::Watcher {
 public:
  // `elements`: of a bucket, see make_buckets.
  GradientSum(Context& ctx, std::unique_ptr<Sum> sum, const ParamStore& params, int64_t elements);
  ~GradientSum() override;

  // Before Tape::backward: begins to add `loss` up, f32 (1), and, if `gradients`, watches the tape
  // for them. Without (all parts of a batch but the last), gradients stay each rank's own.
  void start(Tape& tape, const Tensor& loss, bool gradients);
  // After it.
  void finish();
  const std::vector<Bucket>& buckets() const { return buckets_; }
  std::string name() const { return sum_->name(); }

  void written(const void* gradient) override;
  void step_over() override;

 private:
  Context& ctx_;
  const ParamStore& params_;
  int64_t elements_;
  std::unique_ptr<Sum> sum_;
  std::vector<size_t> by_offset_;    // parameters in the order of the flat block
  std::vector<int64_t> last_write_;  // of each parameter; learned
  std::vector<Bucket> buckets_;      // empty: to be made of it
  int64_t step_ = 0;                 // of the backward pass
  size_t begun_ = 0;                 // buckets
  bool watching_ = false;
};

}  // namespace krait
