// Context and Tape: memory, copies, and the walk backwards.
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <utility>

#include "engine/context.h"
#include "kernels/common/cuda.h"
#include "kernels/fill/fill.h"

namespace krait {
namespace {

// `bytes` of the device's memory, or OutOfMemory.
std::shared_ptr<std::byte> device_block(Backend backend, size_t bytes) {
  bytes = bytes ? bytes : 256;
#if KRAIT_CUDA
  if (backend == Backend::cuda) {
    void* p = nullptr;
    if (cudaMalloc(&p, bytes) != cudaSuccess) {
      cudaGetLastError();
      size_t free = 0, total = 0;
      cudaMemGetInfo(&free, &total);
      throw OutOfMemory(cat("out of GPU memory: ", bytes, " bytes asked for, ", total - free,
                            " of ", total, " in use"),
                        bytes, total - free);
    }
    return {static_cast<std::byte*>(p), [](std::byte* q) { cudaFree(q); }};
  }
#endif
  (void)backend;
  bytes = (bytes + 4095) / 4096 * 4096;
  auto p = static_cast<std::byte*>(std::aligned_alloc(4096, bytes));
  if (!p) throw OutOfMemory(cat("out of memory: ", bytes, " bytes asked for"), bytes, 0);
  return {p, std::free};
}

}  // namespace

Context::Context(Backend backend, size_t arena_bytes)
    : device_(find_device(backend)), beside_(backend) {
#if KRAIT_CUDA
  if (backend == Backend::cuda)
    KRAIT_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
#endif
  reserve(arena_bytes);
}

Context::~Context() {
#if KRAIT_CUDA
  if (stream_) {
    cudaStreamSynchronize(stream_);
    cudaStreamDestroy(stream_);
  }
#endif
}

void Context::reserve(size_t bytes) {
  KRAIT_CHECK(!arena_ || arena_->used() == 0, "reserve: ", arena_->used(), " bytes are in use");
  wait();
  arena_.reset();  // give the old block back first
  arena_ = std::make_shared<Arena>(device_block(device_.backend, bytes), bytes);
}

Tensor Context::empty(Shape shape, DType dtype, int64_t row_stride) {
  KRAIT_CHECK(row_stride < 0 || (shape.rank > 0 && 0 < shape[-1] && shape[-1] <= row_stride),
              "empty: rows of ", shape, " are ", row_stride, " apart");
  const int64_t elements = row_stride < 0 ? shape.count() : shape.count() / shape[-1] * row_stride;
  const size_t bytes = elements * size_of(dtype);
  std::shared_ptr<Arena> arena = arena_;
  return {std::shared_ptr<std::byte>(arena->allocate(bytes),
                                     [arena, bytes](std::byte* p) { arena->release(p, bytes); }),
          shape, dtype, row_stride};
}
Tensor Context::zeros(Shape shape, DType dtype) {
  Tensor t = empty(shape, dtype);
  fill(t, 0);
  return t;
}
void Context::fill(const Tensor& t, double value) {
  if (t.count() == 0) return;
  launch(Fill{.dtype = t.dtype(),
              .rows = t.rows(),
              .width = t.shape().rank ? t.shape(-1) : 1,
              .row = t.row_stride(),
              .value = value,
              .y = t.data()});
}
Tensor Context::persistent(Shape shape, DType dtype, double fill_value) {
  const size_t bytes = shape.count() * size_of(dtype);
  Tensor t(device_block(device_.backend, bytes), shape, dtype);
  persistent_bytes_ += bytes;
  fill(t, fill_value);
  return t;
}

void Context::upload(const Tensor& to, const void* from, size_t bytes) {
  KRAIT_CHECK(bytes <= to.count() * size_of(to.dtype()), "upload of ", bytes, " bytes to ",
              to.shape());
  if (measuring()) return;
#if KRAIT_CUDA
  if (stream_) {
    KRAIT_CUDA_CHECK(cudaMemcpyAsync(to.data(), from, bytes, cudaMemcpyHostToDevice, stream_));
    wait();
    return;
  }
#endif
  std::memcpy(to.data(), from, bytes);
}
void Context::download(void* to, const Tensor& from, size_t bytes) {
  if (measuring()) return;
#if KRAIT_CUDA
  if (stream_) {
    KRAIT_CUDA_CHECK(cudaMemcpyAsync(to, from.data(), bytes, cudaMemcpyDeviceToHost, stream_));
    wait();
    return;
  }
#endif
  std::memcpy(to, from.data(), bytes);
}
void Context::wait() {
#if KRAIT_CUDA
  if (stream_) KRAIT_CUDA_CHECK(cudaStreamSynchronize(stream_));
#endif
}

std::vector<double> Context::values(const Tensor& t) {
  const int64_t width = t.shape().rank ? t.shape(-1) : 1, rows = t.rows();
  if (t.count() == 0) return {};
  const size_t span = ((rows - 1) * t.row_stride() + width) * size_of(t.dtype());
  std::vector<std::byte> raw(span);
  download(raw.data(), t, span);
  std::vector<double> out;
  out.reserve(t.count());
  dispatch_float(t.dtype(), [&]<class T>() {
    const T* v = reinterpret_cast<const T*>(raw.data());
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < width; ++i)
        out.push_back(static_cast<double>(v[r * t.row_stride() + i]));
  });
  return out;
}
void Context::set(const Tensor& to, const std::vector<double>& v) {
  KRAIT_CHECK(static_cast<int64_t>(v.size()) == to.count() && to.contiguous(), v.size(),
              " values for ", to.shape());
  dispatch_float(to.dtype(), [&]<class T>() {
    std::vector<T> raw(v.size());
    for (size_t i = 0; i < v.size(); ++i) raw[i] = T(static_cast<accum_t<T>>(v[i]));
    upload(to, raw.data(), raw.size() * sizeof(T));
  });
}
Tensor Context::from_values(Shape shape, DType dtype, const std::vector<double>& v) {
  Tensor t = empty(shape, dtype);
  set(t, v);
  return t;
}

bool Context::all_finite(const Tensor& t) {
  for (double v : values(t))
    if (!std::isfinite(v)) return false;
  return true;
}
void Context::find_not_finite(const char* op, std::initializer_list<Tensor*> out) {
  if (!not_finite_.empty()) return;
  int k = 0;
  for (const Tensor* t : out) {
    if (*t && (t->dtype() == DType::f32 || t->dtype() == DType::bf16) && !all_finite(*t)) {
      not_finite_ = cat(scope_, scope_.empty() ? "" : ".", op,
                        out.size() > 1 ? cat(", output ", k) : "", " ", t->shape());
      return;
    }
    ++k;
  }
}

size_t free_memory(Backend backend) {
#if KRAIT_CUDA
  if (backend == Backend::cuda) {
    size_t free = 0, total = 0;
    KRAIT_CUDA_CHECK(cudaMemGetInfo(&free, &total));
    return free;
  }
#endif
  (void)backend;
  std::ifstream info("/proc/meminfo");
  std::string word;
  size_t kib = 0;
  while (info >> word)
    if (word == "MemAvailable:" && info >> kib) return kib * 1024;
  return size_t{1} << 62;  // not known: allocating will tell
}

std::shared_ptr<std::byte> pinned_memory(Backend backend, size_t bytes) {
#if KRAIT_CUDA
  if (backend == Backend::cuda) {
    void* p = nullptr;
    KRAIT_CUDA_CHECK(cudaMallocHost(&p, bytes));
    return {static_cast<std::byte*>(p), [](std::byte* q) { cudaFreeHost(q); }};
  }
#endif
  return device_block(backend, bytes);
}

Tape::Tape() {
  static std::atomic<uint32_t> count{0};
  id_ = ++count;
}
Tape::Tape(Step& outer) : Tape() {
  outer_ = &outer.tape_;
}
void Tape::watch(Tensor& leaf, Tensor grad) {
  leaf.slot_ = static_cast<int32_t>(slots_.size());
  leaf.tape_ = id_;
  slots_.push_back({.shape = leaf.shape(),
                    .dtype = grad ? grad.dtype() : leaf.dtype(),
                    .row_stride = leaf.contiguous() ? -1 : leaf.row_stride(),
                    .grad = grad});
  slots_.back().given = slots_.back().started = bool(grad);
}
Tensor Tape::grad(const Tensor& watched) const {
  const int32_t slot = slot_of(watched);
  KRAIT_CHECK(slot >= 0, "this tape watches no such tensor ", watched.shape());
  return slots_[slot].grad;
}
void Tape::record(const char* name, std::initializer_list<const Tensor*> inputs,
                  std::initializer_list<Tensor*> outputs, Backward backward) {
  bool wanted = false;
  for (const Tensor* t : inputs) wanted = wanted || keeper(*t);
  if (wanted) record_always(name, outputs, std::move(backward));
}
void Tape::record_always(const char* name, const std::vector<Tensor*>& outputs, Backward backward) {
  Node node{name, {}, std::move(backward), -1};
  for (Tensor* t : outputs) {
    watch(*t);
    node.outputs.push_back(t->slot_);
  }
  nodes_.push_back(std::move(node));
}
void Tape::record_split(const Tensor& whole, std::vector<Tensor>& parts) {
  const int32_t at = slot_of(whole);
  KRAIT_CHECK(at >= 0 || !keeper(whole), "a tensor was split inside of what is re-made, but made ",
              "outside: split it outside");
  if (at < 0) return;
  Node node{"split", {}, {}, at};
  int64_t from = 0;
  for (Tensor& part : parts) {
    watch(part);
    slots_.back().whole = at;
    slots_.back().from = from;
    from += part.shape(-1);
    node.outputs.push_back(part.slot_);
  }
  slots_[at].split = true;
  node.backward = [this, at, outputs = node.outputs](Context& ctx, Step&) {
    for (int32_t slot : outputs)
      if (!started(slot)) ctx.fill(grad_memory(ctx, slot), 0);  // a part that nothing used
    slots_[at].started = true;
  };
  nodes_.push_back(std::move(node));
}
Tensor& Tape::grad_memory(Context& ctx, int32_t slot) {
  Slot& s = slots_[slot];
  if (!s.grad)
    s.grad = s.whole < 0 ? ctx.empty(s.shape, s.dtype, s.row_stride)
                         : grad_memory(ctx, s.whole).columns(s.from, s.from + s.shape[-1]);
  return s.grad;
}
bool Tape::started(int32_t slot) const {
  const Slot& s = slots_[slot];
  return s.started || (s.whole >= 0 && started(s.whole));
}
const Tensor& Tape::Step::dy(int output) const {
  return tape_.slots_[outputs_[output]].grad;
}
Tensor Tape::Step::take_dy(int output) {
  return std::exchange(tape_.slots_[outputs_[output]].grad, {});
}
Tape::Target Tape::Step::into(const Tensor& input) {
  Tape* const tape = tape_.keeper(input);
  return tape ? tape->into(ctx_, input) : Target();
}
Tape* Tape::keeper(const Tensor& t) {
  Tape* tape = this;
  while (tape && tape->slot_of(t) < 0) tape = tape->outer_;
  return tape;
}
Tape::Target Tape::into(Context& ctx, const Tensor& input) {
  const int32_t slot = slot_of(input);
  KRAIT_CHECK(!slots_[slot].split, "a tensor was used after it was split");
  const bool accumulate = started(slot);
  Tensor& g = grad_memory(ctx, slot);
  if (ctx.work_beside().writes_to(g.data())) ctx.wait_beside();
  slots_[slot].started = true;
  if (watcher_ && slots_[slot].given) watcher_->written(g.data());
  if (input.shape() != g.shape() && input.contiguous() && g.contiguous())
    return {g.viewed(input.shape()), accumulate, slots_[slot].given};  // a view of what is watched
  return {g, accumulate, slots_[slot].given};
}
Tape::Target Tape::Step::into_accumulated(const Tensor& input) {
  Target t = into(input);
  if (t && !t.accumulate) ctx_.fill(t.grad, 0);
  t.accumulate = true;
  return t;
}
void Tape::backward(Context& ctx, const Tensor& loss) {
  const int32_t last = slot_of(loss);
  KRAIT_CHECK(last >= 0, "nothing on this tape leads to the loss");
  ctx.fill(grad_memory(ctx, last), 1);
  slots_[last].started = true;
  walk(ctx);
}
void Tape::backward(Context& ctx, std::vector<Tensor> outputs, std::vector<Tensor> gradients) {
  for (size_t k = 0; k < outputs.size(); ++k) {
    if (!gradients[k]) continue;
    const int32_t at = slot_of(outputs[k]);
    KRAIT_CHECK(at >= 0 ? !slots_[at].started : !keeper(outputs[k]), "backward: output ", k, " ",
                outputs[k].shape(), " is an input, or another output, as it is");
    if (at < 0) continue;  // depends on nothing that is differentiated
    slots_[at].grad = std::move(gradients[k]);
    slots_[at].started = true;
  }
  outputs.clear();
  walk(ctx);
}
void Tape::walk(Context& ctx) {
  while (!nodes_.empty()) {
    Node node = std::move(nodes_.back());
    nodes_.pop_back();
    bool used = false;
    for (int32_t slot : node.outputs) used = used || slots_[slot].started;
    Step step(ctx, *this, node.outputs);
    if (node.split_of >= 0) slots_[node.split_of].split = false;
    try {
      if (used) node.backward(ctx, step);
    } catch (...) {
      ctx.work_beside().drop();
      throw;
    }
    if (watcher_) watcher_->step_over();
    for (int32_t slot : node.outputs) slots_[slot].grad = {};  // no earlier op can read them
  }
  ctx.join();
}

}  // namespace krait
