// A registered model, and what is told of somebody's weights, for every architecture alike.
#pragma once

#include <string>
#include <vector>

namespace krait {

struct NamedModel {
  std::string name, note;
};

// Which model weights are.
template <class Config>
struct Identity {
  Config config;
  std::vector<std::string> names;    // registered models with these shapes, but for the classes
  std::vector<std::string> assumed;  // what shapes cannot tell, and config only supposes
};

}  // namespace krait
