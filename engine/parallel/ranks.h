// Several processes that train one model, each on its own device: who they are, and the few things
// they say to each other. Every call is made by all of them, in the same order. Several threads of
// one process can be ranks too (tests).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/context.h"

namespace krait {

// Adds arrays of floats up over all ranks, in place, in the order in which they are started. The
// sums have the same bits on every rank, and in every run with as many ranks.
class Sum {
 public:
  virtual ~Sum() = default;
  virtual std::string name() const = 0;  // of what it goes through
  // What the context's stream holds by now comes first; nobody may touch the values until finish().
  virtual void start(float* values, int64_t n) = 0;
  // What the stream is given from here on finds the sums.
  virtual void finish() = 0;
};

// The base class is one process on its own.
class Ranks {
 public:
  Ranks() = default;
  virtual ~Ranks() = default;
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  int rank() const { return rank_; }  // 0 .. size-1; 0 speaks and writes
  int size() const { return size_; }
  int local_rank() const { return local_rank_; }   // among the ranks on this machine
  virtual std::string name() const { return ""; }  // of what they talk through

  // `bytes` of every rank, in order of rank, into `all` (size() x bytes).
  virtual void all_gather(const void* mine, void* all, size_t bytes);
  // `bytes` of rank `root` to all.
  virtual void broadcast(void* data, size_t bytes, int root);
  // Of memory on the context's device; must not outlive either. Null: nothing is to be added up.
  virtual std::unique_ptr<Sum> make_sum(Context& ctx);
  // Ends all processes, after an error that this one has reported.
  [[noreturn]] virtual void end_all(int status);

  // Made of these:
  template <class T>
  std::vector<T> gather(const T& mine) {
    std::vector<T> all(size_);
    all_gather(&mine, all.data(), sizeof(T));
    return all;
  }
  bool any(bool mine);
  size_t smallest(size_t mine);
  // What the lowest rank says that says anything.
  std::string first_text(const std::string& mine);
  // InputError on every rank if one has another `text` than rank 0; it says which, and `what`.
  void check_same(const std::string& what, const std::string& text);
  // From rank 0 to all: device memory, by way of the host.
  void broadcast(Context& ctx, const Tensor& t);

 protected:
  Ranks(int rank, int size, int local_rank) : rank_(rank), size_(size), local_rank_(local_rank) {}

 private:
  int rank_ = 0, size_ = 1, local_rank_ = 0;
};

// The pictures of `count` that rank `rank` of `size` evaluates: [first, second). All of them are
// everyone's, once.
inline std::pair<int64_t, int64_t> part_of(int64_t count, int rank, int size) {
  return {count * rank / size, count * (rank + 1) / size};
}

// The one process of a program that nobody started as several.
Ranks& alone();

// How GPUs add up; set where that is built (launch.h).
using DeviceSum = std::function<std::unique_ptr<Sum>(Context&, Ranks&)>;

}  // namespace krait
