// TensorBoard's event files, written by hand:
// https://www.tensorflow.org/tutorials/load_data/tfrecord for the framing,
// tensorboard/compat/proto/{event,summary,tensor}.proto for what is framed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

namespace krait {

class EventFile {
 public:
  // Makes a new events.out.tfevents.* in `folder`. Whatever earlier files of the folder say of
  // `first_step` and later steps no longer counts (a training that was resumed, or begun anew).
  // InputError if it cannot be written; so do the others.
  EventFile(const std::filesystem::path& folder, int64_t first_step);
  // One point in the chart of each name: "train/loss".
  void add_scalars(int64_t step, const std::map<std::string, double>& values);
  // Shown on the page TEXT, as Markdown.
  void add_text(int64_t step, const std::string& name, const std::string& markdown);
  const std::filesystem::path& path() const { return path_; }

 private:
  void add(int64_t step, const std::string& what);  // an Event with one field of its oneof
  std::filesystem::path path_;
  std::ofstream out_;
};

}  // namespace krait
