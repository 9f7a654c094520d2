// Which pictures classify is to look at: files, folders, lists.
#pragma once

#include <fstream>
#include <iosfwd>
#include <string>
#include <vector>

namespace krait {

// One path after the other; the lists are read as far as they are asked for, so that another
// program may still be writing to one.
class Inputs {
 public:
  // `paths`: pictures, and folders, which stand for all files in them with the name of a picture
  // (png, jpg, jpeg, bmp), sorted, and those in their folders. `lists`: files with a path a line;
  // "-" is `standard_input`. InputError for a list or a folder that cannot be read, or that has no
  // picture in it.
  Inputs(std::vector<std::string> paths, std::vector<std::string> lists,
         std::istream& standard_input);
  bool next(std::string& path);  // false: there are no more

 private:
  bool next_listed(std::string& path);
  std::vector<std::string> waiting_, lists_;  // the next one last
  std::istream& standard_input_;
  std::ifstream file_;
  std::istream* list_ = nullptr;  // that is being read
};

}  // namespace krait
