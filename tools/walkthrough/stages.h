// The stages of the walk-through: what each says, shows and checks. Text and page print the same.
#pragma once

#include <string>
#include <vector>

#include "tools/walkthrough/subject.h"

namespace krait::walk {

// Engine and plain loops may differ by so much, as a share of the largest value.
constexpr double limit = 1e-5;

struct Check {
  std::string what;
  double error = 0;  // see difference()
  bool agrees() const { return error <= limit; }
};

struct Stage {
  std::string name, title, text;  // text: a few sentences
  // "_t" or "_{t-1}" is a subscript, "^T" a superscript.
  std::vector<std::string> equations = {};
  std::vector<std::vector<std::string>> shapes = {};   // what, shape
  std::vector<std::vector<std::string>> numbers = {};  // a table; the first row and column name it
  std::vector<std::string> places = {};                // names in places.txt
  std::vector<Check> checks = {};
};

// Whose numbers are shown: a token, and a channel of the inner width.
struct View {
  int64_t token = 0, channel = 0;
};
// The middle token, and the channel that the forward scan moves most.
View default_view(const Trace& trace);
// InputError if there is no such token or channel.
void check_view(const Trace& trace, const View& view);

struct StageKind {
  const char *name, *title;
  Stage (*make)(const Subject&, const View&);
};
const std::vector<StageKind>& stage_kinds();  // in the order of the walk
// Stages by their names, or all; InputError that lists them if there is no such one.
std::vector<Stage> make_stages(const Subject& subject, const View& view,
                               const std::vector<std::string>& names);

// ---- for the files that make them
std::string number(double v);  // four digits
std::string shape(std::initializer_list<int64_t> sizes);
// A row of a table: `label`, then numbers `from` and following of row r.
std::vector<std::string> row(const std::string& label, const Matrix& m, int64_t r,
                             int64_t count = 6, int64_t from = 0);
// The first row of a table: `first`, then "what 0", "what 1", ...
std::vector<std::string> head(const std::string& first, const std::string& what, int64_t count);
Matrix column(const Vector& v);
Matrix one_row(const Vector& v);
const char* side_name(int k);  // "forward", "reverse"
std::vector<StageKind> forward_stages();
std::vector<StageKind> backward_stages();

}  // namespace krait::walk
