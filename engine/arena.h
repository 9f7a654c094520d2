// Stream-ordered memory: one block, handed out best-fit, reused as soon as it is freed.
// Safe without any synchronisation because one arena serves exactly one stream.
//
// An arena with no block measures: it hands out addresses that nobody may touch, and extent() then
// says how large a block the same calls need. A block of exactly that size gives the same offsets.
#pragma once

#include <cstddef>
#include <map>
#include <memory>

#include "kernels/common/error.h"

namespace krait {

struct OutOfMemory : InputError {
  OutOfMemory(const std::string& text, size_t asked_bytes, size_t used_bytes)
      : InputError(text), asked(asked_bytes), used(used_bytes) {}
  size_t asked, used;
};

class Arena {
 public:
  explicit Arena(std::shared_ptr<std::byte> block, size_t size)
      : block_(std::move(block)), size_(size) {}
  Arena() : size_(size_t{1} << 50) {}  // measures
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  bool measures() const { return block_ == nullptr; }

  std::byte* allocate(size_t bytes) {
    bytes = round_up(bytes);
    auto best = free_.end();
    for (auto it = free_.begin(); it != free_.end(); ++it)
      if (it->second >= bytes && (best == free_.end() || it->second < best->second)) best = it;
    size_t start;
    if (best != free_.end()) {
      start = best->first;
      const size_t left = best->second - bytes;
      free_.erase(best);
      if (left) free_[start + bytes] = left;
    } else {  // nothing fits: take new memory at the end, joined with a hole that touches it
      start = top_;
      if (auto last = free_.empty() ? free_.end() : std::prev(free_.end());
          last != free_.end() && last->first + last->second == top_) {
        start = last->first;
        if (start + bytes <= size_) free_.erase(last);
      }
      if (start + bytes > size_)
        throw OutOfMemory(
            cat("out of memory: ", bytes, " bytes asked for, ", used_, " of ", size_, " in use"),
            bytes, used_);
      top_ = start + bytes;
      extent_ = top_ > extent_ ? top_ : extent_;
    }
    used_ += bytes;
    peak_ = used_ > peak_ ? used_ : peak_;
    return base() + start;
  }

  void release(std::byte* p, size_t bytes) {
    bytes = round_up(bytes);
    used_ -= bytes;
    auto it = free_.emplace(static_cast<size_t>(p - base()), bytes).first;
    if (auto next = std::next(it); next != free_.end() && it->first + it->second == next->first) {
      it->second += next->second;
      free_.erase(next);
    }
    if (it != free_.begin())
      if (auto prev = std::prev(it); prev->first + prev->second == it->first) {
        prev->second += it->second;
        free_.erase(it);
      }
    if (used_ == 0) {  // empty: the next step starts exactly as the first one did
      free_.clear();
      top_ = 0;
    }
  }

  size_t used() const { return used_; }
  size_t peak() const { return peak_; }      // most bytes in use at once
  size_t extent() const { return extent_; }  // bytes of block ever touched, gaps included
  size_t size() const { return size_; }
  std::byte* base() const {
    return block_ ? block_.get() : reinterpret_cast<std::byte*>(size_t{1} << 40);
  }

 private:
  static size_t round_up(size_t b) { return (b + 255) / 256 * 256 + (b == 0 ? 256 : 0); }
  std::shared_ptr<std::byte> block_;
  size_t size_, top_ = 0, used_ = 0, peak_ = 0, extent_ = 0;
  std::map<size_t, size_t> free_;  // holes below top_: start -> length, never adjacent
};

}  // namespace krait
