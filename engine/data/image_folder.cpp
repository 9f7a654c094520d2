// Finds the pictures of an image folder and looks at their headers.
#include "engine/data/image_folder.h"

#include <algorithm>
#include <cctype>
#include <fmt/format.h>
#include <thread>

namespace krait {
namespace {

namespace fs = std::filesystem;

constexpr size_t most_named = 10;  // of the files that something is wrong with

// The names in a folder, sorted by their bytes; those that start with a dot are left out.
std::vector<fs::directory_entry> entries(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::directory_entry> found;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    if (at->path().filename().string().front() != '.') found.push_back(*at);
  KRAIT_INPUT(!error, "cannot read ", folder.string(), ": ", error.message());
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    return a.path().filename().native() < b.path().filename().native();
  });
  return found;
}

std::vector<std::string> class_names(const fs::path& part) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : entries(part))
    if (entry.is_directory(error)) names.push_back(entry.path().filename().string());
  KRAIT_INPUT(!names.empty(), "no class folders in ", part.string(),
              " (an image folder has train/CLASS/*.png|jpg|jpeg|bmp and val/CLASS/...)");
  return names;
}

// val/ must have the classes of train/.
void check_same(const std::vector<std::string>& train, const std::vector<std::string>& val,
                const std::string& path) {
  std::vector<std::string> missing, added;
  std::set_difference(train.begin(), train.end(), val.begin(), val.end(),
                      std::back_inserter(missing));
  std::set_difference(val.begin(), val.end(), train.begin(), train.end(),
                      std::back_inserter(added));
  auto some = [](const std::vector<std::string>& names) {
    std::string text = names[0];
    for (size_t i = 1; i < names.size() && i < 3; ++i) text += ", " + names[i];
    return names.size() > 3 ? cat(text, " and ", names.size() - 3, " more") : text;
  };
  KRAIT_INPUT(missing.empty(), path, ": val/ lacks classes of train/: ", some(missing));
  KRAIT_INPUT(added.empty(), path, ": val/ has classes that train/ lacks: ", some(added));
}

template <class F>
void on_threads(int threads, int64_t count, const F& f) {
  std::atomic<int64_t> next = 0;
  std::vector<std::thread> all;
  for (int t = 0; t < threads; ++t)
    all.emplace_back([&] {
      for (int64_t i; (i = next++) < count;) f(i);
    });
  for (auto& t : all) t.join();
}

}  // namespace

bool has_picture_name(const fs::path& path) {
  std::string extension = path.extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return extension == ".png" || extension == ".jpg" || extension == ".jpeg" || extension == ".bmp";
}

Dataset list_image_folder(const std::string& path, bool train, int threads) {
  check_can_read_pictures();
  const fs::path part = fs::path(path) / (train ? "train" : "val");
  std::error_code error;
  KRAIT_INPUT(fs::is_directory(part, error), "there is no folder ", part.string(),
              " (an image folder has train/CLASS/*.png|jpg|jpeg|bmp and val/CLASS/...)");
  Dataset all;
  all.class_names = class_names(part);
  if (!train && fs::is_directory(fs::path(path) / "train", error))
    check_same(class_names(fs::path(path) / "train"), all.class_names, path);
  int64_t others = 0;
  for (size_t c = 0; c < all.class_names.size(); ++c)
    for (const auto& entry : entries(part / all.class_names[c]))
      if (has_picture_name(entry.path()) && !entry.is_directory(error)) {
        all.files.push_back(entry.path().string());
        all.labels.push_back(static_cast<int32_t>(c));
      } else {
        ++others;
      }
  if (others)
    fmt::print(stderr, "{}: {} other files or folders in the class folders are left out\n",
               part.string(), others);

  std::vector<std::string> faults(all.files.size());
  on_threads(threads, std::ssize(all.files), [&](int64_t i) {
    int height, width;
    faults[i] = probe_picture(all.files[i], height, width);
  });
  Dataset good{.name = path,
               .classes = static_cast<int>(all.class_names.size()),
               .height = 0,
               .width = 0,
               .class_names = all.class_names,
               .images = {},
               .labels = {},
               .files = {},
               .mean = {0.485, 0.456, 0.406},
               .stddev = {0.229, 0.224, 0.225}};
  std::vector<int64_t> of_class(all.class_names.size());
  size_t bad = 0;
  for (size_t i = 0; i < all.files.size(); ++i)
    if (faults[i].empty()) {
      good.files.push_back(all.files[i]);
      good.labels.push_back(all.labels[i]);
      ++of_class[all.labels[i]];
    } else if (++bad <= most_named) {
      fmt::print(stderr, "left out: {} {}\n", all.files[i], faults[i]);
    }
  if (bad)
    fmt::print(stderr, "{}: {} of {} pictures cannot be read and are left out\n", part.string(),
               bad, all.files.size());
  for (size_t c = 0; c < of_class.size(); ++c)
    KRAIT_INPUT(of_class[c] > 0, "no picture (png, jpg, jpeg, bmp) that can be read in ",
                (part / all.class_names[c]).string());
  return good;
}

}  // namespace krait
