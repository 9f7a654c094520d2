// Names and shapes, compared.
#include "models/shapes.h"

#include "engine/safetensors.h"

namespace krait {
namespace {

constexpr int64_t largest_size = 1 << 20;  // of any dimension; a configuration's check is stricter

}  // namespace

Shapes shapes_of(const std::function<void(ParamStore&)>& declare) {
  const ParamStore store(declare);
  Shapes shapes;
  for (const Param& p : store.all())
    shapes[p.name] = {p.shape.dim.begin(), p.shape.dim.begin() + p.shape.rank};
  return shapes;
}

std::string difference(const Shapes& weights, const Shapes& model) {
  for (const auto& [name, shape] : model) {
    const auto it = weights.find(name);
    if (it == weights.end()) return cat("there is no ", name);
    if (it->second != shape)
      return cat(name, " is ", shape_text(it->second), ", not ", shape_text(shape));
  }
  for (const auto& [name, shape] : weights)
    if (!model.count(name)) return cat("there is ", name, " ", shape_text(shape));
  return "";
}

int ShapeReader::size(const std::string& name, size_t rank, size_t d) const {
  const auto it = shapes_.find(name);
  KRAIT_INPUT(it != shapes_.end(), "there is no ", name);
  KRAIT_INPUT(it->second.size() == rank && it->second[d] > 0 && it->second[d] <= largest_size, name,
              " is of the shape ", shape_text(it->second));
  return static_cast<int>(it->second[d]);
}

}  // namespace krait
