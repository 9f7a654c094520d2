// Data sets that are folders of pictures: train/CLASS/*.png|jpg|jpeg|bmp and val/CLASS/...
#pragma once

#include <atomic>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>

#include "engine/data/dataset.h"
#include "engine/data/image_file.h"
#include "engine/data/read_ahead.h"

namespace krait {

// The pictures of path/train or path/val: files and labels, no pixels. Classes are the sorted names
// of the folders in train/, files are sorted within a class; links are followed, names that start
// with a dot and other files are left out. `threads` read the headers of all files: a file that is
// no picture is left out too, and named on stderr. Mean and stddev are ImageNet's.
// InputError: no such folder or it cannot be read, no class, a class without a picture, val/ with
// other classes than train/.
Dataset list_image_folder(const std::string& path, bool train, int threads);

// Does the name end like a picture's (png, jpg, jpeg, bmp in small or large letters)?
bool has_picture_name(const std::filesystem::path& path);

struct FolderOptions {
  int64_t batch = 0;       // pictures in a step; the last batch of an evaluation may be smaller
  bool train = true;       // in epoch_order and augmented; else 0, 1, 2, ...
  AugmentOptions augment;  // its crop is made by the threads, all the rest on the device
  int repeats = 1;         // of a picture in an epoch, see epoch_order
  Share share = {};        // of a training batch, which several processes share
  // The pictures of an evaluation, which several processes share: [from, to); -1: all.
  int64_t from = 0, to = -1;
  int threads = 1;
  size_t cache_bytes = 0;  // decoded pictures kept in memory
  bool pinned = true;      // a GPU copies straight from the threads' memory
};

// Threads decode pictures, crop and scale them to (3, size, size) as the device would, with the
// same random numbers of (seed, step, place in the batch), several batches ahead. A batch is copied
// to the device when its step is launched; from there on it is made like any other.
// A picture whose header was right but which cannot be decoded becomes one of the mean colour, with
// its label, so that a training goes on; it is named once on stderr.
class FolderSource : public BatchSource {
 public:
  // `files` must live as long as this.
  FolderSource(Context& ctx, const Dataset& files, const FolderOptions& options);
  ~FolderSource() override;
  int64_t count() const override { return std::ssize(files_); }
  int classes() const override { return staging_.classes(); }
  void shuffle(Context& ctx, uint64_t seed, uint64_t epoch, int repeats = 1) override;
  void in_order(Context& ctx) override;
  // InputError if more than one in a hundred pictures (and more than ten) cannot be decoded.
  void prepare(Context& ctx, const StepState& state, int64_t B) override;
  Batch batch(Context& ctx, int64_t B, const AugmentOptions& augment, bool train,
              DType dtype) const override;
  double seconds_waited() const override { return ahead_->seconds_waited(); }
  size_t cached_bytes() const { return cached_bytes_; }

 private:
  BatchPlace next(const BatchPlace& place) const;
  void make(const BatchPlace& place, int64_t i, int slot);
  std::shared_ptr<const Picture> picture(int64_t index);
  std::shared_ptr<const std::vector<int32_t>> order(uint64_t seed, uint64_t epoch);
  void report_faults();
  uint8_t* pixels(int slot, int64_t i) const;
  int32_t* labels(int slot) const;

  const std::vector<std::string>& files_;
  const std::vector<int32_t>& labels_;
  FolderOptions options_;
  DeviceDataset staging_;  // room for one batch
  int64_t picture_bytes_;
  size_t label_bytes_, slot_bytes_;  // a slot: labels, then pictures
  std::shared_ptr<std::byte> slots_;
  uint64_t epoch_ = 0;
  int in_flight_ = -1;      // the slot whose copy to the device may not be over
  void* copied_ = nullptr;  // event: it is
  std::mutex mutex_;        // of what follows
  std::vector<std::shared_ptr<const Picture>> cache_;
  std::atomic<size_t> cached_bytes_ = 0;
  std::map<int64_t, std::string> faults_;  // picture -> why it cannot be decoded; "" once shown
  std::map<std::pair<uint64_t, uint64_t>, std::shared_ptr<const std::vector<int32_t>>> orders_;
  std::unique_ptr<ReadAhead> ahead_;  // last: its threads use all of the above
};

// InputError for a crop that pictures from files do not have.
void check_crop(const AugmentOptions& options);
// Crops and scales `picture` as options.crop says: what picture i of the batch at `place` shows.
// Without `train`: crop central, or the whole picture scaled to size x size. `out`: (3, size,
// size).
void crop_picture(const Picture& picture, const AugmentOptions& options, bool train,
                  const BatchPlace& place, int64_t i, uint8_t* out);

}  // namespace krait
