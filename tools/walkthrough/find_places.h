// Looks up the lines that places.txt names. Needs nothing of the project: it runs when that is
// built, and in a test.
#pragma once

#include <fstream>
#include <istream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace krait::walk {

struct FoundPlace {
  std::string name, file, text, code;
  int line = 0;
};

inline std::string trimmed(const std::string& s) {
  const size_t from = s.find_first_not_of(" \t"), to = s.find_last_not_of(" \t");
  return from == std::string::npos ? "" : s.substr(from, to - from + 1);
}

// `list`: lines "name | file | text", and comments that begin with #. Throws runtime_error, one
// line, where a file is not there or does not have exactly one line with the text.
inline std::vector<FoundPlace> find_places(std::istream& list, const std::string& root) {
  std::vector<FoundPlace> found;
  int at = 0;
  for (std::string entry; std::getline(list, entry);) {
    ++at;
    if (trimmed(entry).empty() || entry[0] == '#') continue;
    auto fail = [&](const std::string& what) {
      throw std::runtime_error("places.txt, line " + std::to_string(at) + ": " + what);
    };
    const size_t first = entry.find('|'), second = entry.find('|', first + 1);
    if (first == std::string::npos || second == std::string::npos) fail("not name | file | text");
    FoundPlace p{trimmed(entry.substr(0, first)),
                 trimmed(entry.substr(first + 1, second - first - 1)),
                 trimmed(entry.substr(second + 1)), "", 0};
    for (const FoundPlace& other : found)
      if (other.name == p.name) fail("there are two of the name " + p.name);
    std::ifstream file(root + "/" + p.file);
    if (p.text.empty() || !file) fail(p.text.empty() ? "no text" : "there is no file " + p.file);
    int number = 0, lines = 0;
    for (std::string line; std::getline(file, line);) {
      ++number;
      if (line.find(p.text) == std::string::npos) continue;
      p.line = number, p.code = trimmed(line);
      ++lines;
    }
    if (lines != 1)
      fail(p.file + " has " + (lines ? std::to_string(lines) + " lines" : "no line") +
           " with: " + p.text);
    found.push_back(p);
  }
  return found;
}

}  // namespace krait::walk
