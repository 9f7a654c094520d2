// Batches of an image folder: decoded and cropped by threads, copied to the device in turn.
#include <cstring>
#include <fmt/format.h>

#include "engine/data/image_folder.h"
#include "engine/data/policy.h"
#include "kernels/common/cuda.h"

namespace krait {
namespace {

// One batch on its way to the device, the others full or being filled.
constexpr int slot_count = 4;

size_t padded(size_t bytes) {
  return (bytes + 255) / 256 * 256;
}

// Where picture j of an epoch is put, if it is ours: the batch's pictures one after the other.
std::vector<int32_t> slots_of(int64_t count, const FolderOptions& o) {
  std::vector<int32_t> slot(count);
  const Share& s = o.share;
  if (!s.pictures)
    for (int64_t j = o.from; j < count; ++j) slot[j] = static_cast<int32_t>((j - o.from) % o.batch);
  else
    for (int64_t first = 0; first + s.all <= count; first += s.all)
      for (int64_t i = 0; i < o.batch; ++i) slot[first + s.place(i)] = static_cast<int32_t>(i);
  return slot;
}

}  // namespace

FolderSource::FolderSource(Context& ctx, const Dataset& files, const FolderOptions& options)
    : files_(files.files),
      labels_(files.labels),
      options_(options),
      staging_(ctx, files.classes, options.batch, options.augment.size,
               slots_of(files.count(), options)),
      picture_bytes_(int64_t{3} * options.augment.size * options.augment.size),
      label_bytes_(padded(options.batch * sizeof(int32_t))),
      slot_bytes_(label_bytes_ + padded(options.batch * picture_bytes_)),
      cache_(files.files.size()) {
  if (options_.to < 0) options_.to = files.count();
  check_augment(options.augment);
  check_crop(options.augment);
  KRAIT_CHECK(options.batch > 0 && options.batch <= count(), "batches of ", options.batch,
              " out of ", count(), " pictures");
  slots_ =
      pinned_memory(options.pinned ? ctx.device().backend : Backend::cpu, slot_count * slot_bytes_);
#if KRAIT_CUDA
  if (ctx.stream())
    KRAIT_CUDA_CHECK(
        cudaEventCreateWithFlags(reinterpret_cast<cudaEvent_t*>(&copied_), cudaEventDisableTiming));
#endif
  ahead_ = std::make_unique<ReadAhead>(
      options.threads, slot_count, [this](const BatchPlace& p) { return next(p); },
      [this](const BatchPlace& p, int64_t i, int slot) { make(p, i, slot); });
}

FolderSource::~FolderSource() {
#if KRAIT_CUDA
  if (copied_) {
    cudaEventSynchronize(static_cast<cudaEvent_t>(copied_));
    cudaEventDestroy(static_cast<cudaEvent_t>(copied_));
  }
#endif
}

void FolderSource::shuffle(Context&, uint64_t, uint64_t epoch, int repeats) {
  KRAIT_CHECK(repeats == options_.repeats, "shuffle: ", repeats, " repeats, not ",
              options_.repeats);
  epoch_ = epoch;  // the threads work out the order themselves, when they get there
}
void FolderSource::in_order(Context&) {
  KRAIT_CHECK(!options_.train, "in_order: these pictures are for training");
}

// A training drops what is left of an epoch; an evaluation takes it as a smaller batch, and starts
// over: the next one is likely.
BatchPlace FolderSource::next(const BatchPlace& place) const {
  BatchPlace p = place;
  const int64_t whole = options_.share.pictures ? options_.share.all : p.B;
  p.first += options_.train ? whole : p.B;
  if (options_.train) {
    ++p.step;
    if (p.first + whole > count()) {
      p.first = 0;
      ++p.epoch;
    }
    return p;
  }
  if (p.first >= options_.to) p.first = options_.from;
  p.B = std::min(options_.batch, options_.to - p.first);
  return p;
}

int32_t* FolderSource::labels(int slot) const {
  return reinterpret_cast<int32_t*>(slots_.get() + slot * slot_bytes_);
}
uint8_t* FolderSource::pixels(int slot, int64_t i) const {
  return reinterpret_cast<uint8_t*>(slots_.get() + slot * slot_bytes_ + label_bytes_) +
         i * picture_bytes_;
}

void FolderSource::make(const BatchPlace& place, int64_t i, int slot) {
  int64_t index = place.first + options_.share.place(i);
  if (options_.train) index = (*order(place.seed, place.epoch))[index];
  labels(slot)[i] = labels_[index];
  if (const auto p = picture(index)) {
    crop_picture(*p, options_.augment, options_.train, place, options_.share.place(i),
                 pixels(slot, i));
    return;
  }
  for (int c = 0; c < 3; ++c)
    std::memset(pixels(slot, i) + c * picture_bytes_ / 3, mean_colour(options_.augment, c),
                picture_bytes_ / 3);
}

// Null: it cannot be decoded.
std::shared_ptr<const Picture> FolderSource::picture(int64_t index) {
  {
    const std::lock_guard lock(mutex_);
    if (cache_[index]) return cache_[index];
    if (faults_.count(index)) return nullptr;
  }
  auto p = std::make_shared<Picture>();
  std::string fault = read_picture(files_[index], *p);
  const std::lock_guard lock(mutex_);
  if (!fault.empty()) {
    faults_.emplace(index, std::move(fault));
    return nullptr;
  }
  if (!cache_[index] && cached_bytes_ + p->pixels.size() <= options_.cache_bytes) {
    cache_[index] = p;
    cached_bytes_ += p->pixels.size();
  }
  return p;
}

// The orders of this epoch and of the next, which is begun before this one is over.
std::shared_ptr<const std::vector<int32_t>> FolderSource::order(uint64_t seed, uint64_t epoch) {
  const std::lock_guard lock(mutex_);
  auto& known = orders_[{seed, epoch}];
  if (!known) {
    known = std::make_shared<const std::vector<int32_t>>(
        epoch_order(count(), seed, epoch, options_.repeats));
    std::erase_if(orders_, [&](const auto& o) {
      return o.first.first != seed || o.first.second + 1 < epoch || o.first.second > epoch;
    });
  }
  return known;
}

void FolderSource::report_faults() {
  const std::lock_guard lock(mutex_);
  const size_t allowed = std::max<size_t>(10, files_.size() / 100);
  for (auto& [index, fault] : faults_)
    if (!fault.empty()) {
      fmt::print(stderr, "{} {}: a grey picture takes its place\n", files_[index], fault);
      fault.clear();  // shown
    }
  KRAIT_INPUT(faults_.size() <= allowed, faults_.size(), " of ", files_.size(),
              " pictures cannot be decoded (", files_[faults_.rbegin()->first], " and others)");
}

void FolderSource::prepare(Context& ctx, const StepState& state, int64_t B) {
  if (ctx.measuring()) return;
  BatchPlace place{.seed = 0, .epoch = 0, .step = 0, .first = state.first, .B = B};
  if (options_.train) {
    place.seed = state.seed;
    place.epoch = epoch_;
    place.step = state.step;
  }
  const int slot = ahead_->take(place);
  report_faults();
  const size_t bytes = B * picture_bytes_, label_bytes = B * sizeof(int32_t);
#if KRAIT_CUDA
  if (ctx.stream()) {
    // Queued behind the step before, which reads the same memory. The copy before this one is over
    // or soon will be: the step before is running by now.
    auto event = static_cast<cudaEvent_t>(copied_);
    if (in_flight_ >= 0) {
      KRAIT_CUDA_CHECK(cudaEventSynchronize(event));
      ahead_->give_back(in_flight_);
    }
    KRAIT_CUDA_CHECK(cudaMemcpyAsync(staging_.pictures().data(), pixels(slot, 0), bytes,
                                     cudaMemcpyHostToDevice, ctx.stream()));
    KRAIT_CUDA_CHECK(cudaMemcpyAsync(staging_.labels().data(), labels(slot), label_bytes,
                                     cudaMemcpyHostToDevice, ctx.stream()));
    KRAIT_CUDA_CHECK(cudaEventRecord(event, ctx.stream()));
    in_flight_ = slot;
    return;
  }
#endif
  std::memcpy(staging_.pictures().data(), pixels(slot, 0), bytes);
  std::memcpy(staging_.labels().data(), labels(slot), label_bytes);
  ahead_->give_back(slot);
}

BatchSource::Batch FolderSource::batch(Context& ctx, int64_t B, const AugmentOptions& augment,
                                       bool train, DType dtype) const {
  KRAIT_CHECK(
      train == options_.train && augment.size == options_.augment.size && B <= options_.batch,
      "batch: not what this source was made for");
  AugmentOptions rest = augment;
  rest.crop = Crop::none;  // they have their size: nothing is left to crop or scale
  return staging_.batch(ctx, B, rest, train, dtype);
}

}  // namespace krait
