// Where the code is that a stage talks of. places.txt names a line of a file by a text that stands
// on it alone; make_places looks the lines up when the project is built.
#pragma once

#include <span>
#include <string>

namespace krait::walk {

struct Place {
  const char *name, *file;  // from the root of the tree
  int line;                 // the first is 1
  const char *text, *code;  // what it was found by, and the whole line without its indentation
};
std::span<const Place> places();  // made by make_places
// Error if there is none of that name.
const Place& place(const std::string& name);

}  // namespace krait::walk
