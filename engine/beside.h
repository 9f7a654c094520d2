// Work that nothing waits for until the end of the backward pass: gradients of weights. On a GPU it
// goes to a second stream, where it fills what the first one leaves idle. Context::beside is how
// ops use it.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "engine/tensor.h"
#include "kernels/common/kernel.h"
#include "kernels/common/libraries.h"

namespace krait {

// A turn is the work of one op. Two of them may be under way, so what keeps memory is short.
class Beside {
 public:
  explicit Beside(Backend backend);
  ~Beside();
  Beside(const Beside&) = delete;

  // A turn of such work begins: it waits for what was launched on `main`. The turn before the last
  // is over for `main` from here on, and what it used is let go. `dry`: only memory is looked
  // after.
  void start(Stream main, std::vector<Tensor> uses, bool dry);
  void end(bool dry);
  // What is launched on `main` from here on waits for all turns.
  void wait(Stream main, bool dry);
  // The same, and what they used is let go.
  void join(Stream main, bool dry);
  void drop();  // forgets them, after an error

  // Of the turn that runs: is there one, what else it uses, and where it writes.
  bool inside() const { return inside_; }
  void hold(Tensor t) { turns_[turn_].uses.push_back(std::move(t)); }
  void writes(const void* memory) { turns_[turn_].writes.push_back(memory); }
  bool writes_to(const void* memory) const;  // does a turn that is not over write there?
  Stream stream() const { return stream_; }
  Libraries& libraries() { return libraries_; }

  // For tests, on a CPU: a turn's launches run as late as they ever may, when it is over.
  bool late = false;
  void later(std::function<void()> launch) { turns_[turn_].late.push_back(std::move(launch)); }

 private:
  struct Turn {
    void* done = nullptr;  // an event
    bool open = false;
    std::vector<Tensor> uses = {};
    std::vector<const void*> writes = {};
    std::vector<std::function<void()>> late = {};
  };
  void wait(Turn& turn, Stream main, bool dry);
  void finish(Turn& turn, Stream main, bool dry);
  Stream stream_ = nullptr;
  void* start_ = nullptr;  // an event
  Turn turns_[2];
  int turn_ = 0;
  bool inside_ = false;
  Libraries libraries_;  // with a workspace of their own
};

}  // namespace krait
