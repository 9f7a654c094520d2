// Walks through files, folders and lists.
#include "apps/classify/inputs.h"

#include <algorithm>
#include <filesystem>

#include "engine/data/image_folder.h"
#include "kernels/common/error.h"

namespace krait {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> pictures_in(const std::string& folder) {
  std::vector<std::string> found;
  std::error_code error;
  const auto follow = fs::directory_options::follow_directory_symlink;
  for (fs::recursive_directory_iterator at(folder, follow, error), end; !error && at != end;
       at.increment(error)) {
    std::error_code unknown;                               // a link that leads nowhere
    if (at.depth() > 100) at.disable_recursion_pending();  // a link to a folder it is in
    if (has_picture_name(at->path()) && !at->is_directory(unknown))
      found.push_back(at->path().string());
  }
  KRAIT_INPUT(!error, "cannot read the folder ", folder, ": ", error.message());
  KRAIT_INPUT(!found.empty(), "no picture (png, jpg, jpeg, bmp) in the folder ", folder);
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

Inputs::Inputs(std::vector<std::string> paths, std::vector<std::string> lists,
               std::istream& standard_input)
    : waiting_(paths.rbegin(), paths.rend()),
      lists_(lists.rbegin(), lists.rend()),
      standard_input_(standard_input) {}

bool Inputs::next_listed(std::string& path) {
  for (;;) {
    if (!list_) {
      if (lists_.empty()) return false;
      const std::string name = lists_.back();
      lists_.pop_back();
      list_ = &standard_input_;
      if (name != "-") {
        file_ = std::ifstream(name);
        std::error_code error;
        KRAIT_INPUT(file_ && !fs::is_directory(name, error), "cannot read the list ", name);
        list_ = &file_;
      }
    }
    while (std::getline(*list_, path)) {
      if (path.ends_with('\r')) path.pop_back();
      if (!path.empty()) return true;
    }
    list_ = nullptr;
  }
}

bool Inputs::next(std::string& path) {
  for (;;) {
    if (waiting_.empty()) {
      if (!next_listed(path)) return false;
      waiting_.push_back(path);
    }
    path = waiting_.back();
    waiting_.pop_back();
    std::error_code error;
    if (!fs::is_directory(path, error)) return true;
    const auto found = pictures_in(path);
    waiting_.insert(waiting_.end(), found.rbegin(), found.rend());
  }
}

}  // namespace krait
