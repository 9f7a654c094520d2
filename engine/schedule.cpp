// Learning rate over time.
#include "engine/schedule.h"

#include <cmath>
#include <numbers>

namespace krait {

double Schedule::at(double t) const {
  if (t < warmup_epochs) return warmup_lr + t * (lr - warmup_lr) / warmup_epochs;
  if (constant) return lr;
  if (t < epochs)
    return min_lr + 0.5 * (lr - min_lr) * (1 + std::cos(std::numbers::pi * t / epochs));
  return min_lr;
}

double Schedule::during_epoch(int64_t epoch) const {
  return at(epoch > 0 ? static_cast<double>(epoch - 1) : 0.0);
}

double Schedule::during_step(int64_t step, int64_t steps_per_epoch) const {
  const double per = static_cast<double>(steps_per_epoch);
  const double warmup = warmup_epochs * per, total = epochs * per, s = static_cast<double>(step);
  if (s < warmup) return warmup_lr + (lr - warmup_lr) * std::fmin((s + 1) / warmup, 1.0);
  if (constant) return lr;
  if (s >= total) return min_lr;
  const double done = (s - warmup) / (total - warmup);
  return min_lr + 0.5 * (lr - min_lr) * (1 + std::cos(std::numbers::pi * done));
}

}  // namespace krait
