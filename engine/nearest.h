// The names nearest to a mistyped one, for messages.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

namespace krait {

// Insertions, deletions and replacements from one text to the other (Levenshtein 1966).
inline size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t corner = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = corner + (a[i - 1] != b[j - 1]);
      corner = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

// "first, second, third": at most `most` of `names`, the nearest one first.
inline std::string nearest(const std::string& name, std::vector<std::string> names,
                           size_t most = 3) {
  std::stable_sort(names.begin(), names.end(), [&](const std::string& a, const std::string& b) {
    return edit_distance(name, a) < edit_distance(name, b);
  });
  std::string s;
  for (size_t i = 0; i < names.size() && i < most; ++i) s += (i ? ", " : "") + names[i];
  return s;
}

}  // namespace krait
