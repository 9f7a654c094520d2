// Sizes that a user gave for a kernel, by letter: B=512, L=64.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "kernels/common/error.h"

namespace krait {

class UserSizes {
 public:
  explicit UserSizes(std::map<std::string, int64_t> given) : given_(std::move(given)) {}

  // The number given for `letter`, or the usual one.
  int64_t take(const std::string& letter, int64_t usual, int64_t most, int64_t least = 1) {
    known_ += (known_.empty() ? "" : ", ") + letter;
    const auto it = given_.find(letter);
    if (it == given_.end()) return usual;
    const int64_t value = it->second;
    given_.erase(it);
    KRAIT_INPUT(value >= least && value <= most, "--shape ", letter, "=", value, ": ", letter,
                " is from ", least, " to ", most);
    return value;
  }

  // To be called when every letter was taken: the others are mistakes.
  void check_all_taken(const std::string& kernel) const {
    KRAIT_INPUT(given_.empty(), "--shape: ", kernel, " has no ", given_.begin()->first,
                "; it takes ", known_);
  }

 private:
  std::map<std::string, int64_t> given_;
  std::string known_;
};

}  // namespace krait
