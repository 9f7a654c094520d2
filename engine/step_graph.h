// Records one step as a CUDA graph and replays it. On the CPU it just runs the step.
#pragma once

#include <map>
#include <utility>

#include "engine/context.h"
#include "kernels/common/cuda.h"

namespace krait {

class StepGraph {
 public:
  // The first steps run one kernel after the other: libraries choose their plans in them.
  explicit StepGraph(int eager_steps = 3) : eager_left_(eager_steps) {}
  StepGraph(const StepGraph&) = delete;
  StepGraph& operator=(const StepGraph&) = delete;
#if KRAIT_CUDA
  ~StepGraph() {
    if (exec_) cudaGraphExecDestroy(exec_);
  }
#endif
  bool captured() const {
#if KRAIT_CUDA
    return exec_ != nullptr;
#else
    return false;
#endif
  }

  // `step` must do the same work on the same addresses every time, and never wait for the GPU.
  template <class F>
  void run(Context& ctx, F&& step) {
    KRAIT_CHECK(ctx.arena().used() == 0, "a step starts with ", ctx.arena().used(),
                " bytes of the step's memory in use");
#if KRAIT_CUDA
    if (ctx.stream() && eager_left_ == 0) {
      record_ahead(ctx, std::forward<F>(step));
      KRAIT_CUDA_CHECK(cudaGraphLaunch(exec_, ctx.stream()));
      return;
    }
    if (eager_left_ > 0) --eager_left_;
#endif
    step();
    KRAIT_CHECK(ctx.arena().used() == 0, "a step left ", ctx.arena().used(), " bytes in use");
  }
  // Records the step now if the next run would, without running it: memory is asked for now.
  template <class F>
  void record_ahead([[maybe_unused]] Context& ctx, [[maybe_unused]] F&& step) {
#if KRAIT_CUDA
    if (ctx.stream() && eager_left_ == 0 && !exec_) capture(ctx.stream(), std::forward<F>(step));
#endif
  }

 private:
#if KRAIT_CUDA
  template <class F>
  void capture(Stream stream, F&& step) {
    cudaGraph_t graph = nullptr;
    KRAIT_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    try {
      step();
    } catch (...) {  // leave the stream usable, then say what went wrong
      cudaStreamEndCapture(stream, &graph);
      if (graph) cudaGraphDestroy(graph);
      throw;
    }
    KRAIT_CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
    const cudaError_t made = cudaGraphInstantiate(&exec_, graph, 0);
    cudaGraphDestroy(graph);
    KRAIT_CUDA_CHECK(made);
    KRAIT_CUDA_CHECK(cudaGraphUpload(exec_, stream));
  }
  cudaGraphExec_t exec_ = nullptr;
#endif
  [[maybe_unused]] int eager_left_;  // used on a GPU only
};

// A graph for each kind of step, told apart by a key. For inference: the batch size, and whatever
// else changes sizes or addresses. Without a tape a step keeps nothing, and one eager step is
// enough for the libraries.
template <class Key>
class StepGraphs {
 public:
  explicit StepGraphs(int eager_steps = 1) : eager_steps_(eager_steps) {}
  template <class F>
  void run(Context& ctx, const Key& key, F&& step) {
    StepGraph& graph = graphs_.try_emplace(key, eager_steps_).first->second;
    graph.run(ctx, step);
    graph.record_ahead(ctx, step);  // a batch of a size that comes once an epoch, too
  }

 private:
  int eager_steps_;
  std::map<Key, StepGraph> graphs_;
};

}  // namespace krait
