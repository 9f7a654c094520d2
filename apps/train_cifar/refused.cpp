// What the published trainer takes and this program does not, with the reason.
#include "apps/train_cifar/refused.h"

#include <vector>

namespace krait {
namespace {

struct Refused {
  const char* name;
  const char* reason;
};

constexpr const char* launched =
    "the launcher's variables say it (mpirun, srun, torchrun; RANK, WORLD_SIZE, MASTER_ADDR)";
constexpr const char* noise =
    "a learning rate with noise is not built: none of the published recipes uses it";

const std::vector<Refused>& refused() {
  static const std::vector<Refused> list = {
      {"--gpu", "a process uses one GPU: the one of its local rank in CUDA_VISIBLE_DEVICES"},
      {"--model-ema-force-cpu", "the average lies beside the weights, 4 bytes per parameter"},
      {"--lr-noise", noise},
      {"--lr-noise-pct", noise},
      {"--lr-noise-std", noise},
      {"--cooldown-epochs", "the published trainer ignores it; --min-lr is reached at the end"},
      {"--patience-epochs", "it belongs to --sched plateau, which is not built"},
      {"--resplit", "it splits batches for a loss that the published trainer does not have"},
      {"--teacher-model", "the checkpoint of --teacher-path says which model it is"},
      {"--attn-only", "Vision Mamba has no attention; see --freeze and --linear-probe"},
      {"--inat-category", "iNaturalist is not among the data sets"},
      {"--start_epoch", "the checkpoint of --resume says where it stopped"},
      {"--start-epoch", "the checkpoint of --resume says where it stopped"},
      {"--distributed", launched},
      {"--dist_url", launched},
      {"--local-rank", launched},
      {"--local_rank", launched},
      {"--if_amp", "half precision with loss scaling is not built; --precision bf16 needs none"},
      {"--no_amp", "say --precision fp32 or tf32"},
      {"--if_nan2num",
       "it sets a loss that is NaN to 0 and leaves the gradient NaN; --if_continue_inf skips "
       "such a step"},
      {"--if_random_cls_token_position",
       "a class token whose place is drawn anew in each step is not built"},
      {"--if_random_token_rank", "tokens in an order drawn anew in each step are not built"},
  };
  return list;
}

// Values of options: "option value".
const std::vector<Refused>& refused_values() {
  static const std::vector<Refused> list = {
      {"sched plateau", "the accuracy on the test set would steer the training"},
      {"data-set INAT", "iNaturalist is not among the data sets"},
      {"data-set INAT19", "iNaturalist is not among the data sets"},
      {"data-set CIFAR",
       "the published trainer's name for CIFAR100, which one fork reads as "
       "CIFAR10: say which"},
      {"aa augmix", "AugMix is not built"},
  };
  return list;
}

constexpr const char* nothing_new[] = {"--dist-eval", "--no_nan2num",
                                       "--no_random_cls_token_position", "--no_random_token_rank"};

}  // namespace

std::string reason_refused(const std::string& name) {
  for (const Refused& r : refused())
    if (name == r.name) return r.reason;
  return "";
}

std::string reason_refused(const std::string& option, const std::string& value) {
  for (const Refused& r : refused_values())
    if (option + " " + value == r.name) return r.reason;
  static const char* const optimisers[] = {"nadam",     "radam",     "adamp",     "sgdp",
                                           "adabelief", "adadelta",  "adafactor", "adahessian",
                                           "rmsprop",   "rmsproptf", "novograd",  "nvnovograd"};
  if (option == "opt")
    for (const char* name : optimisers)
      if (value == name) return "this one of timm's optimisers is not built";
  if (option == "opt" && (value.starts_with("fused") || value.starts_with("lookahead_")))
    return "every optimiser here is one fused kernel, and none looks back at slow weights";
  return "";
}

bool says_nothing_new(const std::string& name) {
  for (const char* n : nothing_new)
    if (name == n) return true;
  return false;
}

std::string refused_help() {
  std::string text = "\nPublished options that are refused (give one to read why):\n ";
  size_t width = 1;
  auto word = [&](const std::string& w) {
    if (width + w.size() > 95) text += "\n ", width = 1;
    text += " " + w;
    width += w.size() + 1;
  };
  for (const Refused& r : refused()) word(r.name);
  text += "\nAccepted, since they say what is done anyway:\n ";
  width = 1;
  for (const char* n : nothing_new) word(n);
  return text + "\n";
}

}  // namespace krait
