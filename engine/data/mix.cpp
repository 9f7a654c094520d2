// Chooses a batch's mixing, on the host, as kernels/augment/mixing.h draws it.
#include "engine/data/mix.h"

namespace krait {

MixRules mix_rules(const MixOptions& o) {
  return {.mode = o.mode,
          .mixup = o.mixup,
          .cutmix = o.cutmix,
          .prob = o.prob,
          .switch_prob = o.switch_prob,
          .minmax_low = o.cutmix_minmax[0],
          .minmax_high = o.cutmix_minmax[1]};
}

void draw_mix(StepState& state, const MixOptions& options, int size) {
  MixChoice choice;
  if (options.any() && options.mode == MixMode::batch)
    choice =
        draw_mix_choice(Numbers(state.seed, Draw::mix, state.step, 0), mix_rules(options), size);
  state.mix = choice.mix;
  state.lambda = choice.lambda;
  state.box_x0 = choice.box.x0;
  state.box_x1 = choice.box.x1;
  state.box_y0 = choice.box.y0;
  state.box_y1 = choice.box.y1;
}

}  // namespace krait
