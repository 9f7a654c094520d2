// What all stages have in common, and their list.
#include "tools/walkthrough/stages.h"

#include <algorithm>
#include <fmt/format.h>

namespace krait::walk {

std::string number(double v) {
  const std::string s = fmt::format("{:.4g}", v);
  return s == "-0" ? "0" : s;
}
std::string shape(std::initializer_list<int64_t> sizes) {
  return fmt::format("({})", fmt::join(sizes, ", "));
}
std::vector<std::string> row(const std::string& label, const Matrix& m, int64_t r, int64_t count,
                             int64_t from) {
  std::vector<std::string> cells = {label};
  for (int64_t c = from; c < std::min(from + count, m.columns); ++c)
    cells.push_back(number(m(r, c)));
  return cells;
}
std::vector<std::string> head(const std::string& first, const std::string& what, int64_t count) {
  std::vector<std::string> cells = {first};
  for (int64_t i = 0; i < count; ++i) cells.push_back(cat(what, " ", i));
  return cells;
}
Matrix column(const Vector& v) {
  Matrix m(std::ssize(v), 1);
  m.data = v;
  return m;
}
Matrix one_row(const Vector& v) {
  Matrix m(1, std::ssize(v));
  m.data = v;
  return m;
}
const char* side_name(int k) {
  return k ? "reverse" : "forward";
}

View default_view(const Trace& t) {
  View view{.token = t.n.v.rows / 2, .channel = 0};
  double most = -1;
  for (int64_t e = 0; e < t.s[0].columns; ++e) {
    double low = t.s[0](0, e), high = low;
    for (int64_t l = 0; l < t.s[0].rows; ++l)
      low = std::min(low, t.s[0](l, e)), high = std::max(high, t.s[0](l, e));
    if (high - low > most) most = high - low, view.channel = e;
  }
  return view;
}
void check_view(const Trace& t, const View& view) {
  KRAIT_INPUT(0 <= view.token && view.token < t.n.v.rows, "there is no token ", view.token,
              ": the model has tokens 0 to ", t.n.v.rows - 1);
  KRAIT_INPUT(0 <= view.channel && view.channel < t.v.v.columns, "there is no channel ",
              view.channel, ": the mixer has channels 0 to ", t.v.v.columns - 1);
}

const std::vector<StageKind>& stage_kinds() {
  static const std::vector<StageKind> all = [] {
    std::vector<StageKind> kinds = forward_stages();
    for (const StageKind& k : backward_stages()) kinds.push_back(k);
    return kinds;
  }();
  return all;
}

std::vector<Stage> make_stages(const Subject& subject, const View& view,
                               const std::vector<std::string>& names) {
  std::string known;
  for (const StageKind& k : stage_kinds()) known += cat(known.empty() ? "" : ", ", k.name);
  for (const std::string& name : names)
    KRAIT_INPUT(std::any_of(stage_kinds().begin(), stage_kinds().end(),
                            [&](const StageKind& k) { return name == k.name; }),
                "there is no stage '", name, "'; there are ", known);
  std::vector<Stage> stages;
  for (const StageKind& k : stage_kinds()) {
    if (!names.empty() && std::find(names.begin(), names.end(), k.name) == names.end()) continue;
    Stage s = k.make(subject, view);
    s.name = k.name, s.title = k.title;
    stages.push_back(std::move(s));
  }
  return stages;
}

}  // namespace krait::walk
