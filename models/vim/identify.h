// Which Vision Mamba somebody's weights are: from the names and shapes of a state dict.
#pragma once

#include <map>
#include <optional>

#include "models/vim/config.h"

namespace krait {

using VimIdentity = Identity<VimConfig>;

// Nothing if these are not the weights of a Vision Mamba, every name and shape of them; `why` then
// says what is wrong, if they look like one. The tables rope.freqs_cos and rope.freqs_sin, which
// published checkpoints have, are allowed.
std::optional<VimIdentity> identify_vim(const std::map<std::string, std::vector<int64_t>>& shapes,
                                        std::string& why);

// Floating-point operations for one picture, forward. A multiply-add counts as two; a scan as nine
// for every token, channel and state, as is the custom (state-spaces/mamba).
double vim_flops(const VimConfig& config);

}  // namespace krait
