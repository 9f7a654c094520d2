// The value of --kernel: which variant of a kernel is to run, instead of the default.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace krait {

// "NAME=VARIANT" taken apart, for Context::force. InputError with the nearest names if there is no
// such kernel or variant.
std::vector<std::pair<std::string, std::string>> parse_kernel_choices(
    const std::vector<std::string>& texts);

}  // namespace krait
