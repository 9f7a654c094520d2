// Reverse-mode differentiation: ops append to the tape as they run, backward() walks it in reverse.
// The order of execution is a topological order, so the tape is a plain list (Griewank & Walther,
// "Evaluating Derivatives", ch. 3).
#pragma once

#include <functional>
#include <vector>

#include "engine/tensor.h"

namespace krait {

class Context;

class Tape {
 public:
  class Step;
  Tape();
  // A tape inside a backward step of another one (engine/remake.h). What is differentiated there is
  // so here too, and its gradient goes to its place there.
  explicit Tape(Step& outer);
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  // Where an op's backward step puts the gradient of one of its inputs.
  struct Target {
    Tensor grad;
    bool accumulate = false;  // add to what is there, rather than overwrite it
    bool given = false;       // it is memory that watch() was given
    explicit operator bool() const { return bool(grad); }
    void* data() const { return grad.data(); }
  };

  // What a backward step is given.
  class Step {
   public:
    const Tensor& dy(int output = 0) const;  // gradient of an output; empty if nothing used it
    Tensor take_dy(int output = 0);          // the same; the tape lets go of it
    Target into(const Tensor& input);        // empty if that gradient is not wanted
    Target into_accumulated(const Tensor& input);  // the same, for kernels that can only add

   private:
    friend class Tape;
    Step(Context& ctx, Tape& tape, const std::vector<int32_t>& outputs)
        : ctx_(ctx), tape_(tape), outputs_(outputs) {}
    Context& ctx_;
    Tape& tape_;
    const std::vector<int32_t>& outputs_;
  };
  using Backward = std::function<void(Context&, Step&)>;

  // Is told, while backward() walks, which gradients are written to.
  class Watcher {
   public:
    virtual ~Watcher() = default;
    // The step that runs writes to this gradient, memory that watch() was given.
    virtual void written(const void* gradient) = 0;
    virtual void step_over() = 0;  // its kernels are queued
  };
  void set_watcher(Watcher* watcher) { watcher_ = watcher; }  // must outlive backward()

  // Asks for the gradient of `leaf`, added into `grad` when given (it may be of another type).
  void watch(Tensor& leaf, Tensor grad = {});
  // Notes that op `name` computed `outputs` from `inputs`. Does nothing if no input is
  // differentiated. An empty tensor among the inputs is allowed and wants nothing.
  void record(const char* name, std::initializer_list<const Tensor*> inputs,
              std::initializer_list<Tensor*> outputs, Backward backward);
  // The same, whatever the inputs are.
  void record_always(const char* name, const std::vector<Tensor*>& outputs, Backward backward);
  // Notes that `parts` are the columns of `whole`, side by side. Their gradients are then columns
  // of its gradient, so nothing is copied; from here on use the parts, not the whole.
  void record_split(const Tensor& whole, std::vector<Tensor>& parts);
  // Runs every step in reverse, freeing what it kept as it goes.
  void backward(Context& ctx, const Tensor& loss);
  // The same from these gradients of `outputs` (an empty one was not used) rather than a loss.
  void backward(Context& ctx, std::vector<Tensor> outputs, std::vector<Tensor> gradients);
  Tensor grad(const Tensor& watched) const;
  bool wants(const Tensor& t) const { return t.tape_ == id_ && t.slot_ >= 0; }
  size_t length() const { return nodes_.size(); }

 private:
  struct Node {
    const char* name;
    std::vector<int32_t> outputs;
    Backward backward;
    int32_t split_of = -1;
  };
  // The gradient of one value.
  struct Slot {
    Shape shape;
    DType dtype;
    int64_t row_stride;  // of the value, and so of its gradient; -1: packed
    Tensor grad;
    bool given = false;    // grad is memory that watch() was given
    bool started = false;  // has something been written into grad?
    bool split = false;    // are its parts collecting it?
    int32_t whole = -1;    // the slot whose columns [from, ..) this is
    int64_t from = 0;
  };
  int32_t slot_of(const Tensor& t) const { return t.tape_ == id_ ? t.slot_ : -1; }
  Tape* keeper(const Tensor& t);  // this tape, or the outer one that keeps t's gradient, or null
  Target into(Context& ctx, const Tensor& input);
  void walk(Context& ctx);
  Tensor& grad_memory(Context& ctx, int32_t slot);
  bool started(int32_t slot) const;
  uint32_t id_;
  Tape* outer_ = nullptr;
  Watcher* watcher_ = nullptr;
  std::vector<Node> nodes_;
  std::vector<Slot> slots_;
};

}  // namespace krait
