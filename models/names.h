// A registered model, of whatever architecture.
#pragma once

#include <string>

namespace krait {

struct NamedModel {
  std::string name, note;
};

}  // namespace krait
