// Names and shapes of a model's parameters, and of a state dict that may be its.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "engine/params.h"

namespace krait {

using Shapes = std::map<std::string, std::vector<int64_t>>;

// Of the parameters that `declare` enumerates.
Shapes shapes_of(const std::function<void(ParamStore&)>& declare);
// The first difference between weights and the model they were taken for; empty: none.
std::string difference(const Shapes& weights, const Shapes& model);

// Sizes in a state dict; InputError for one that is not there, or not as it should be.
class ShapeReader {
 public:
  explicit ShapeReader(const Shapes& shapes) : shapes_(shapes) {}
  bool has(const std::string& name) const { return shapes_.count(name); }
  // Dimension d of a tensor that has `rank` of them.
  int size(const std::string& name, size_t rank, size_t d) const;

 private:
  const Shapes& shapes_;
};

}  // namespace krait
