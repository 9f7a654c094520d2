// Learning rate over time.
#include "engine/schedule.h"

#include <cmath>
#include <numbers>

namespace krait {

double Schedule::curve(double x, double t) const {
  switch (kind) {
    case Kind::constant:
      return lr;
    case Kind::step:
      return lr * std::pow(decay_rate, std::floor(t / decay_epochs));
    case Kind::linear:
      return x < 1 ? min_lr + (lr - min_lr) * (1 - x) : min_lr;
    case Kind::tanh:
      return x < 1 ? min_lr + 0.5 * (lr - min_lr) * (1 - std::tanh(-6 * (1 - x) + 4 * x)) : min_lr;
    case Kind::cosine:
      break;
  }
  return x < 1 ? min_lr + 0.5 * (lr - min_lr) * (1 + std::cos(std::numbers::pi * x)) : min_lr;
}

double Schedule::at(double t) const {
  if (t >= warmup_epochs) return curve(t / epochs, t);
  const double top = kind == Kind::tanh ? curve(warmup_epochs / epochs, warmup_epochs) : lr;
  return warmup_lr + t * (top - warmup_lr) / warmup_epochs;
}

double Schedule::during_epoch(int64_t epoch) const {
  return at(epoch > 0 ? static_cast<double>(epoch - 1) : 0.0);
}

double Schedule::during_step(int64_t step, int64_t steps_per_epoch) const {
  const double per = static_cast<double>(steps_per_epoch);
  const double warmup = warmup_epochs * per, total = epochs * per, s = static_cast<double>(step);
  if (s < warmup) return warmup_lr + (lr - warmup_lr) * std::fmin((s + 1) / warmup, 1.0);
  return curve(s >= total ? 1 : (s - warmup) / (total - warmup), s / per);
}

}  // namespace krait
