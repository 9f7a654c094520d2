// Learning rate over time: linear warm-up, then a curve. timm's schedulers without warm-up prefix
// (cosine: Loshchilov & Hutter 2017; tanh: Hsueh et al. 2019), and a straight line.
#pragma once

#include <cstdint>

namespace krait {

struct Schedule {
  enum class Kind : uint8_t { cosine, linear, tanh, step, constant };
  double lr = 5e-4, warmup_lr = 1e-6, min_lr = 1e-5;
  double epochs = 300, warmup_epochs = 5;
  Kind kind = Kind::cosine;
  double decay_epochs = 30, decay_rate = 0.1;  // step: times the rate every so many epochs

  // The rate at time t, in epochs: warmup_lr + t (top - warmup_lr) / warmup_epochs before
  // warmup_epochs, then the curve. With x = t / epochs:
  //   cosine  min_lr + (lr - min_lr) (1 + cos(pi x)) / 2, then min_lr
  //   linear  min_lr + (lr - min_lr) (1 - x), then min_lr
  //   tanh    min_lr + (lr - min_lr) (1 - tanh(-6 (1 - x) + 4 x)) / 2, then min_lr
  //   step    lr decay_rate^floor(t / decay_epochs);   constant  lr
  // top: lr; of tanh its value at warmup_epochs, as timm has it.
  double at(double t) const;
  // As the published recipe runs it: constant within an epoch, and the schedule is stepped with the
  // number of the epoch just ended, so epochs 0 and 1 both run at at(0).
  double during_epoch(int64_t epoch) const;
  // Stepped after every optimiser step: warm-up from warmup_lr to lr over the warm-up's steps, then
  // the curve from its start to its end over the REST of the steps; step: as at().
  double during_step(int64_t step, int64_t steps_per_epoch) const;

 private:
  double curve(double x, double t) const;  // x: share of the way, t: epochs since the start
};

}  // namespace krait
