// Everything an op needs besides its arguments: the device, its stream, the step's memory, the tape
// if there is one, and which kernel variants were asked for. There is no other global state.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engine/arena.h"
#include "engine/beside.h"
#include "engine/tape.h"
#include "kernels/common/libraries.h"
#include "kernels/common/step_state.h"

namespace krait {

// Is told of every launch, just before it is queued and just after: a tool that times them.
class LaunchObserver {
 public:
  virtual ~LaunchObserver() = default;
  virtual void before(const char* kernel, const char* variant, Stream stream) = 0;
  virtual void after(Stream stream) = 0;
};

// Is told of every op once its result is computed and it is on the tape, if there is one: a tool
// that shows what a model computes. It may put an op of its own behind an output.
class OpObserver {
 public:
  virtual ~OpObserver() = default;
  virtual void ran(Context& ctx, const char* op, std::initializer_list<const Tensor*> in,
                   std::initializer_list<Tensor*> out) = 0;
};

class Context {
 public:
  // `arena_bytes`: the step's memory; 0 until reserve() is called. Throws OutOfMemory.
  explicit Context(Backend backend, size_t arena_bytes = 0);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  const Device& device() const { return device_; }
  Stream stream() const { return stream_; }
  Arena& arena() { return *arena_; }
  const Arena& arena() const { return *arena_; }
  Tape* tape() const { return tape_; }

  // The step's memory, taken from the arena and given back with the last copy of the tensor.
  // `row_stride`, if not -1: elements from one row to the next; what lies between is never read.
  Tensor empty(Shape shape, DType dtype, int64_t row_stride = -1);
  Tensor zeros(Shape shape, DType dtype);
  void fill(const Tensor& t, double value);
  // Memory that outlives the step (parameters, data): never from the arena.
  Tensor persistent(Shape shape, DType dtype, double fill_value = 0);
  size_t persistent_bytes() const { return persistent_bytes_; }  // asked for so far

  // Bytes of arena that `work` needs. Runs it without memory and without launching anything.
  template <class F>
  size_t measure(F&& work) {
    Measuring guard(*this);
    work();
    return arena_->extent();
  }
  // Replaces the arena by one of this size. No tensor of the old one may be alive.
  void reserve(size_t bytes);
  bool measuring() const { return arena_ && arena_->measures(); }

  // The row of kernel P that launch(p) would run: the default, or the one named for it in `force`.
  // Null if none fits.
  template <class P>
  const Variant<P>* row_for(const P& p) const {
    return choose(p, device_, forced_row(force_, P::name));
  }
  template <class P>
  void launch(const P& p) {
    const Variant<P>* v = row_for(p);
    if (!v) no_row_fits(P::name, forced_row(force_, P::name));
    Tensor scratch;  // given back on return: later work on this stream runs after this kernel
    if (v->scratch_bytes)
      if (size_t bytes = v->scratch_bytes(p)) scratch = empty({int64_t(bytes)}, DType::u8);
    const bool beside = beside_.inside();
    if (beside && scratch) beside_.hold(scratch);
    if (measuring()) return;
    const Launch launch = {.device = device_,
                           .stream = beside ? beside_.stream() : stream_,
                           .scratch = scratch.data(),
                           .libraries = beside ? &beside_.libraries() : &libraries_,
                           .forced = &force_};
    if (beside && beside_.late) return beside_.later([v, p, launch] { krait::run(*v, p, launch); });
    if (observer_) observer_->before(P::name, v->name, stream_);
    krait::run(*v, p, launch);
    if (observer_) observer_->after(stream_);
  }
  // Runs `work`, which computes `gradients`, memory of parameters, from `uses`. On a GPU what it
  // launches goes to a second stream: until join() nothing may write to what it uses, and nothing
  // but work beside to the gradients. All of them are kept as long as needed, and scratch memory;
  // a tensor that `work` makes would be given back too early.
  template <class F>
  void beside(const std::vector<Tensor>& gradients, std::vector<Tensor> uses, F&& work) {
    if (!forks() || beside_.inside()) return work();
    const bool dry = measuring();
    beside_.start(stream_, std::move(uses), dry);
    for (const Tensor& g : gradients) beside_.writes(g.data());
    work();
    beside_.end(dry);
  }
  // What is launched from here on waits for all work beside.
  void wait_beside() { beside_.wait(stream_, measuring()); }
  // The same, and the memory that it used is let go.
  void join() { beside_.join(stream_, measuring()); }
  Beside& work_beside() { return beside_; }
  // Tells the tape, if there is one, how to differentiate what was just computed.
  template <class F>
  void record_op(const char* name, std::initializer_list<const Tensor*> in,
                 std::initializer_list<Tensor*> out, F&& backward) {
    if (tape_) tape_->record(name, in, out, std::forward<F>(backward));
    if (watch_finite_ && !measuring()) find_not_finite(name, out);
    if (op_observer_) op_observer_->ran(*this, name, in, out);
  }
  // Train and compare with `--kernel selective_scan_fwd=reference`.
  void force(std::string kernel, std::string variant) {
    force_[std::move(kernel)] = std::move(variant);
  }
  // Null: nobody. Must live until replaced. Not while a graph is recorded or replayed.
  void observe(LaunchObserver* observer) { observer_ = observer; }
  void observe_ops(OpObserver* observer) { op_observer_ = observer; }  // the same

  // float32 products may use TF32 tensor cores (GPU only).
  bool allow_tf32 = false;
  // Gradients of weights on a second stream, beside the rest (GPU only).
  bool two_streams = true;
  // Dropout and drop path are active.
  bool training = false;
  // Models keep only what goes into a layer for the backward pass, which then runs the layer again.
  bool remake_layers = false;
  // What the current step's random numbers depend on, in device memory. Null: no random op runs.
  const StepState* state = nullptr;

  // While on, every op's outputs are searched for infinities and NaN (slow: waits for the device).
  void watch_finite(bool on) { watch_finite_ = on, not_finite_.clear(); }
  const std::string& not_finite() const { return not_finite_; }  // first op found, "" if none
  bool all_finite(const Tensor& t);
  // Names the part of the model that runs: "layers.3.mixer". Used in messages.
  class Scope {
   public:
    Scope(Context& c, std::string name)
        : ctx_(c), before_(std::exchange(c.scope_, std::move(name))) {}
    ~Scope() { ctx_.scope_ = before_; }
    Scope(const Scope&) = delete;

   private:
    Context& ctx_;
    std::string before_;
  };
  [[nodiscard]] Scope scope(const std::string& name) {
    return {*this, scope_.empty() ? name : scope_ + "." + name};
  }
  const std::string& scope_name() const { return scope_; }
  // Goes back to where scope_name() was asked for.
  [[nodiscard]] Scope scope_again(const std::string& name) { return {*this, name}; }

  // While the returned object lives, ops record themselves on `tape`.
  class Recording {
   public:
    Recording(Context& c, Tape* t) : ctx_(c), before_(std::exchange(c.tape_, t)) {}
    ~Recording() { ctx_.tape_ = before_; }
    Recording(const Recording&) = delete;

   private:
    Context& ctx_;
    Tape* before_;
  };
  [[nodiscard]] Recording record(Tape& tape) { return {*this, &tape}; }
  [[nodiscard]] Recording record_nothing() { return {*this, nullptr}; }

  // Copies that wait for the device. `bytes` may be less than the tensor holds.
  void upload(const Tensor& to, const void* from, size_t bytes);
  void download(void* to, const Tensor& from, size_t bytes);
  template <class T>
  std::vector<T> download(const Tensor& t) {
    std::vector<T> v(t.count());
    download(v.data(), t, v.size() * sizeof(T));
    return v;
  }
  // Any float tensor (contiguous or not) as doubles, for tests and tools.
  std::vector<double> values(const Tensor& t);
  // Writes doubles into a float tensor (contiguous), rounded to its type.
  void set(const Tensor& to, const std::vector<double>& v);
  // A tensor from doubles, in the arena.
  Tensor from_values(Shape shape, DType dtype, const std::vector<double>& v);
  void wait();

 private:
  class Measuring {
   public:
    explicit Measuring(Context& c) : ctx_(c), before_(c.arena_) {
      c.arena_ = std::make_shared<Arena>();
    }
    ~Measuring() { ctx_.arena_ = before_; }

   private:
    Context& ctx_;
    std::shared_ptr<Arena> before_;
  };
  void find_not_finite(const char* op, std::initializer_list<Tensor*> out);
  bool forks() const { return (stream_ && two_streams && !observer_) || beside_.late; }
  Device device_;
  Stream stream_ = nullptr;
  std::shared_ptr<Arena> arena_;
  Tape* tape_ = nullptr;
  Libraries libraries_;
  Beside beside_;
  ForcedRows force_;
  LaunchObserver* observer_ = nullptr;
  OpObserver* op_observer_ = nullptr;
  size_t persistent_bytes_ = 0;
  bool watch_finite_ = false;
  std::string not_finite_, scope_;
};

// Bytes a new block can have now: free memory of the GPU, available memory of the machine.
size_t free_memory(Backend backend);
// Host memory the device can copy from and to without waiting.
std::shared_ptr<std::byte> pinned_memory(Backend backend, size_t bytes);

}  // namespace krait
