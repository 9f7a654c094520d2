// Chooses a batch's mixing: mixup (Zhang et al. 2018) or CutMix (Yun et al. 2019).
#include <algorithm>
#include <cmath>
#include <numbers>

#include "engine/data/dataset.h"
#include "kernels/common/random.h"

namespace krait {
namespace {

// A sequence of random numbers of one step.
class Numbers {
 public:
  Numbers(uint64_t seed, uint64_t step) : seed_(seed), step_(step) {}
  uint32_t word() {
    if (at_ == 4) {
      four_ = philox(seed_, static_cast<uint32_t>(Draw::mix), step_, index_++);
      at_ = 0;
    }
    return four_.word[at_++];
  }
  // In (0, 1), on a grid of 2^-32, never at its ends: a logarithm may be taken.
  double uniform() { return (word() + 0.5) * 0x1p-32; }
  double normal() {  // Box and Muller 1958
    const double radius = std::sqrt(-2 * std::log(uniform()));
    return radius * std::cos(2 * std::numbers::pi * uniform());
  }
  double gamma(double shape) {  // Marsaglia and Tsang 2000, shape >= 1
    const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
    for (;;) {
      const double x = normal(), v = std::pow(1 + c * x, 3);
      if (v > 0 && std::log(uniform()) < x * x / 2 + d - d * v + d * std::log(v)) return d * v;
    }
  }
  double beta(double alpha) {  // Beta(alpha, alpha)
    if (alpha > 1) {
      const double a = gamma(alpha), b = gamma(alpha);
      return a / (a + b);
    }
    for (;;) {  // Johnk 1964, in logarithms: u^(1/alpha) underflows when alpha is small
      const double a = std::log(uniform()) / alpha, b = std::log(uniform()) / alpha;
      const double most = std::max(a, b), sum = most + std::log1p(std::exp(std::min(a, b) - most));
      if (sum <= 0) return std::exp(a - sum);
    }
  }

 private:
  uint64_t seed_, step_, index_ = 0;
  Random4 four_{};
  int at_ = 4;
};

}  // namespace

void draw_mix(StepState& state, const MixOptions& options, int size) {
  state.mix = Mix::none;
  state.lambda = 1;
  state.box_x0 = state.box_x1 = state.box_y0 = state.box_y1 = 0;
  if (!options.any() || options.mode != MixMode::batch) return;
  Numbers numbers(state.seed, state.step);
  if (numbers.uniform() >= options.prob) return;
  const bool cutmix =
      options.mixup <= 0 || (options.cutmix > 0 && numbers.uniform() < options.switch_prob);
  const double lambda = numbers.beta(cutmix ? options.cutmix : options.mixup);
  if (!cutmix) {
    state.mix = Mix::mixup;
    state.lambda = static_cast<float>(lambda);
    return;
  }
  const int half = static_cast<int>(size * std::sqrt(1 - lambda)) / 2;
  const int y = static_cast<int>(below(numbers.word(), static_cast<uint32_t>(size)));
  const int x = static_cast<int>(below(numbers.word(), static_cast<uint32_t>(size)));
  state.mix = Mix::cutmix;
  state.box_y0 = std::max(y - half, 0);
  state.box_y1 = std::min(y + half, size);
  state.box_x0 = std::max(x - half, 0);
  state.box_x1 = std::min(x + half, size);
  // The share that is left of the picture itself, now that the box has been clipped.
  const double area = static_cast<double>(state.box_y1 - state.box_y0) *
                      static_cast<double>(state.box_x1 - state.box_x0);
  state.lambda = static_cast<float>(1 - area / (static_cast<double>(size) * size));
}

}  // namespace krait
