// Parts of a data set.
#include "engine/data/subset.h"

#include <algorithm>
#include <cmath>

#include "engine/nearest.h"
#include "kernels/common/random.h"

namespace krait {
namespace {

// Leaves the pictures at these places, which ascend.
void keep(Dataset& d, const std::vector<int64_t>& places) {
  const int64_t size = int64_t{d.channels} * d.height * d.width;  // bytes of a picture in memory
  for (size_t to = 0; to < places.size(); ++to) {
    const int64_t from = places[to];
    d.labels[to] = d.labels[from];
    if (d.files.empty())
      std::copy_n(d.images.begin() + from * size, size,
                  d.images.begin() + static_cast<int64_t>(to) * size);
    else
      d.files[to] = d.files[from];
  }
  d.labels.resize(places.size());
  if (d.files.empty())
    d.images.resize(places.size() * size);
  else
    d.files.resize(places.size());
}

}  // namespace

void keep_classes(Dataset& d, const std::vector<std::string>& names) {
  KRAIT_INPUT(names.size() >= 2, "--classes needs two names or more, separated by commas");
  std::vector<int32_t> label(d.class_names.size(), -1);  // old -> new
  for (size_t k = 0; k < names.size(); ++k) {
    const auto at = std::find(d.class_names.begin(), d.class_names.end(), names[k]);
    KRAIT_INPUT(at != d.class_names.end(), d.name, " has no class '", names[k],
                "'. The nearest names: ", nearest(names[k], d.class_names));
    int32_t& to = label[at - d.class_names.begin()];
    KRAIT_INPUT(to < 0, "--classes names ", names[k], " twice");
    to = static_cast<int32_t>(k);
  }
  std::vector<int64_t> places;
  for (int64_t i = 0; i < d.count(); ++i)
    if (label[d.labels[i]] >= 0) places.push_back(i);
  keep(d, places);
  for (int32_t& l : d.labels) l = label[l];
  d.class_names = names;
  d.classes = static_cast<int>(names.size());
}

void keep_fraction(Dataset& d, double fraction) {
  using Keyed = std::pair<uint64_t, int64_t>;  // a random number, the picture's place
  std::vector<std::vector<Keyed>> of_class(d.classes);
  for (int64_t i = 0; i < d.count(); ++i) {
    const Random4 r = philox(0, static_cast<uint32_t>(Draw::subset), 0, i);
    of_class[d.labels[i]].emplace_back(uint64_t{r.word[0]} << 32 | r.word[1], i);
  }
  std::vector<int64_t> places;
  for (auto& all : of_class) {
    if (all.empty()) continue;
    std::sort(all.begin(), all.end());
    const double wanted = std::round(fraction * static_cast<double>(all.size()));
    const size_t n = std::clamp<size_t>(static_cast<size_t>(wanted), 1, all.size());
    for (size_t k = 0; k < n; ++k) places.push_back(all[k].second);
  }
  std::sort(places.begin(), places.end());
  keep(d, places);
}

}  // namespace krait
