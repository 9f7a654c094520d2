// The ring of slots behind read_ahead.h: one mutex, held only between pictures.
#include "engine/data/read_ahead.h"

#include <algorithm>
#include <chrono>

#include "kernels/common/error.h"

namespace krait {

ReadAhead::ReadAhead(int threads, int slots, Next next, Make make)
    : next_(std::move(next)), make_(std::move(make)), slots_(slots) {
  KRAIT_CHECK(threads > 0 && slots > 1, "ReadAhead: ", threads, " threads, ", slots, " slots");
  for (int t = 0; t < threads; ++t) threads_.emplace_back([this] { work(); });
}

ReadAhead::~ReadAhead() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  work_.notify_all();
  for (std::thread& t : threads_) t.join();
}

// The slot whose next picture is to be begun. Null: all are begun, and there is no free slot.
ReadAhead::Slot* ReadAhead::slot_to_fill() {
  if (!running_) return nullptr;
  const int count = static_cast<int>(slots_.size());
  if (queued_ > 0)
    if (Slot& last = slots_[(head_ + queued_ - 1) % count]; last.begun < last.place.B) return &last;
  if (queued_ == count) return nullptr;
  Slot& free = slots_[(head_ + queued_) % count];
  if (free.taken) return nullptr;
  free = {.place = upcoming_, .error = nullptr};
  upcoming_ = next_(upcoming_);
  ++queued_;
  return &free;
}

void ReadAhead::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    Slot* slot = nullptr;
    work_.wait(lock, [&] { return stop_ || (slot = slot_to_fill()); });
    if (stop_) return;
    const int64_t i = slot->begun++;
    const BatchPlace place = slot->place;
    lock.unlock();
    std::exception_ptr error;
    try {
      make_(place, i, static_cast<int>(slot - slots_.data()));
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    if (error && !slot->error) slot->error = error;
    ++slot->done;
    if (!slot->busy()) done_.notify_all();
  }
}

// Drops all that was made ahead, once no thread is at it any more.
void ReadAhead::start_at(const BatchPlace& place, std::unique_lock<std::mutex>& lock) {
  running_ = false;
  done_.wait(lock, [&] {
    return std::none_of(slots_.begin(), slots_.end(), [](const Slot& s) { return s.busy(); });
  });
  queued_ = 0;
  upcoming_ = place;
  running_ = true;
}

int ReadAhead::take(const BatchPlace& place) {
  std::unique_lock lock(mutex_);
  KRAIT_CHECK(!slots_[head_].taken, "take: no slot was given back");
  const auto start = std::chrono::steady_clock::now();
  if (!running_ || (queued_ > 0 ? slots_[head_].place : upcoming_) != place) start_at(place, lock);
  work_.notify_all();
  const int index = head_;
  Slot& slot = slots_[index];
  done_.wait(lock, [&] { return queued_ > 0 && slot.done == slot.place.B; });
  waited_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  slot.taken = true;
  head_ = (head_ + 1) % static_cast<int>(slots_.size());
  --queued_;
  if (const auto error = slot.error) {
    running_ = slot.taken = false;
    std::rethrow_exception(error);
  }
  return index;
}

void ReadAhead::give_back(int slot) {
  {
    const std::lock_guard lock(mutex_);
    slots_[slot].taken = false;
  }
  work_.notify_all();
}

}  // namespace krait
