// Learning rate over time: linear warm-up, then cosine (Loshchilov & Hutter 2017), as timm's
// CosineLRScheduler without warm-up prefix.
#pragma once

#include <cstdint>

namespace krait {

struct Schedule {
  double lr = 5e-4, warmup_lr = 1e-6, min_lr = 1e-5;
  double epochs = 300, warmup_epochs = 5;
  bool constant = false;  // --sched constant: lr throughout, after the warm-up

  // The curve at time t, in epochs: warmup_lr + t (lr - warmup_lr) / warmup_epochs before
  // warmup_epochs, then min_lr + (lr - min_lr) (1 + cos(pi t / epochs)) / 2, then min_lr.
  double at(double t) const;
  // As the published recipe runs it: constant within an epoch, and the schedule is stepped with the
  // number of the epoch just ended, so epochs 0 and 1 both run at at(0).
  double during_epoch(int64_t epoch) const;
  // Stepped after every optimiser step: warm-up from warmup_lr to lr over the warm-up's steps, then
  // a cosine from lr to min_lr over the REST of the steps.
  double during_step(int64_t step, int64_t steps_per_epoch) const;
};

}  // namespace krait
