// Batches that several threads make ahead of the step that needs them.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace krait {

// Which batch: what its pictures and their random numbers depend on.
struct BatchPlace {
  uint64_t seed = 0, epoch = 0, step = 0;
  int64_t first = 0, B = 0;  // pictures [first, first + B) of the epoch's order
  bool operator==(const BatchPlace&) const = default;
};

// A ring of slots, each with room for a batch. The threads share a batch picture by picture, so the
// one that is needed next is ready first. What a slot holds depends on its place alone, not on the
// number of threads or on when they run.
class ReadAhead {
 public:
  using Next = std::function<BatchPlace(const BatchPlace&)>;  // the batch that follows
  // Makes picture i of the batch at `place` in slot `slot`; called from any of the threads.
  using Make = std::function<void(const BatchPlace& place, int64_t i, int slot)>;
  ReadAhead(int threads, int slots, Next next, Make make);
  ~ReadAhead();
  ReadAhead(const ReadAhead&) = delete;

  // Waits for the batch and returns its slot, which stays as it is until given back. A batch that
  // is not the one that follows (the first, or after a resume) starts the ring anew from there.
  // Throws what `make` threw. At least one slot must be left to fill.
  int take(const BatchPlace& place);
  void give_back(int slot);
  double seconds_waited() const { return waited_; }  // in take, so far

 private:
  struct Slot {
    BatchPlace place;
    int64_t begun = 0, done = 0;  // pictures
    bool taken = false;
    std::exception_ptr error;
    bool busy() const { return done < begun; }
  };
  void work();
  Slot* slot_to_fill();
  void start_at(const BatchPlace& place, std::unique_lock<std::mutex>& lock);

  Next next_;
  Make make_;
  std::mutex mutex_;
  std::condition_variable work_, done_;
  std::vector<Slot> slots_;
  int head_ = 0, queued_ = 0;  // the slots head_ .. head_ + queued_ are being filled, or full
  BatchPlace upcoming_;        // the place of the slot after them
  bool running_ = false, stop_ = false;
  double waited_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace krait
