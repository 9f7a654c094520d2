// GPU rows by cuDNN, for patches that overlap: there gathering would copy every pixel several
// times. cuDNN works on (B, D, P), so a transposition to or from tokens stands beside it.
#if KRAIT_CUDNN
#include <algorithm>
#include <cudnn.h>

#include "kernels/common/libraries_impl.h"
#include "kernels/patch_embed/by_matmul.h"
#include "kernels/patch_embed/rows.h"

namespace krait {
namespace {

#define KRAIT_CUDNN_CHECK(call)                                   \
  do {                                                            \
    cudnnStatus_t krait_status = (call);                          \
    KRAIT_CHECK(krait_status == CUDNN_STATUS_SUCCESS, #call ": ", \
                cudnnGetErrorString(krait_status));               \
  } while (0)

// What cuDNN needs for one shape, chosen once. An algorithm that was not found has index -1.
struct Plan {
  cudnnTensorDescriptor_t x = nullptr, y = nullptr;
  cudnnFilterDescriptor_t w = nullptr;
  cudnnConvolutionDescriptor_t conv = nullptr;
  int fwd = -1, bwd_data = -1, bwd_filter = -1;
  size_t fwd_bytes = 0, bwd_data_bytes = 0, bwd_filter_bytes = 0;
};
struct State {
  cudnnHandle_t handle = nullptr;
  std::map<std::vector<int64_t>, Plan> plans;
  State() { KRAIT_CUDNN_CHECK(cudnnCreate(&handle)); }
  State(const State&) = delete;
  ~State() {
    for (auto& [key, p] : plans) {
      cudnnDestroyTensorDescriptor(p.x);
      cudnnDestroyTensorDescriptor(p.y);
      cudnnDestroyFilterDescriptor(p.w);
      cudnnDestroyConvolutionDescriptor(p.conv);
    }
    cudnnDestroy(handle);
  }
};

template <class P>
size_t round_up(const P& p, int64_t count) {
  return (count * size_of(p.dtype) + 255) / 256 * 256;
}
template <class P>
size_t planes_bytes(const P& p) {  // of (B, D, P)
  return round_up(p, p.B * p.D * p.grid.patches());
}
// The most workspace an algorithm may ask for: copies of all operands in another layout, and some.
template <class P>
size_t workspace_bytes(const P& p) {
  const PatchGrid& g = p.grid;
  return 2 * (planes_bytes(p) + round_up(p, p.B * g.C * g.H * g.W) +
              round_up(p, p.D * g.numbers())) +
         (size_t{32} << 20);
}
template <class P>
size_t scratch(const P& p) {
  return std::max(planes_bytes(p) +
                      std::max(workspace_bytes(p), inner_bytes(by_matmul::bias(p), Backend::cuda)),
                  by_matmul::scratch(p, Backend::cuda));
}

// The fastest algorithm by cuDNN's own estimate that gives the same bits every time.
template <class Perf>
void pick(const std::vector<Perf>& found, size_t most_bytes, int& algorithm, size_t& bytes) {
  for (const Perf& f : found)
    if (f.status == CUDNN_STATUS_SUCCESS && f.determinism == CUDNN_DETERMINISTIC &&
        f.memory <= most_bytes) {
      algorithm = static_cast<int>(f.algo);
      bytes = f.memory;
      return;
    }
}

template <class P>
Plan make_plan(const P& p, cudnnHandle_t handle) {
  const PatchGrid& g = p.grid;
  auto i = [](int64_t v) { return static_cast<int>(v); };
  const cudnnDataType_t type = p.dtype == DType::bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
  Plan q;
  KRAIT_CUDNN_CHECK(cudnnCreateTensorDescriptor(&q.x));
  KRAIT_CUDNN_CHECK(cudnnCreateTensorDescriptor(&q.y));
  KRAIT_CUDNN_CHECK(cudnnCreateFilterDescriptor(&q.w));
  KRAIT_CUDNN_CHECK(cudnnCreateConvolutionDescriptor(&q.conv));
  KRAIT_CUDNN_CHECK(
      cudnnSetTensor4dDescriptor(q.x, CUDNN_TENSOR_NCHW, type, i(p.B), i(g.C), i(g.H), i(g.W)));
  KRAIT_CUDNN_CHECK(cudnnSetTensor4dDescriptor(q.y, CUDNN_TENSOR_NCHW, type, i(p.B), i(p.D),
                                               i(g.high()), i(g.wide())));
  KRAIT_CUDNN_CHECK(
      cudnnSetFilter4dDescriptor(q.w, type, CUDNN_TENSOR_NCHW, i(p.D), i(g.C), i(g.p), i(g.p)));
  KRAIT_CUDNN_CHECK(cudnnSetConvolution2dDescriptor(q.conv, 0, 0, i(g.stride), i(g.stride), 1, 1,
                                                    CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
  // Left to itself cuDNN rounds f32 to TF32.
  const bool exact = p.dtype == DType::f32 && !p.allow_tf32;
  KRAIT_CUDNN_CHECK(
      cudnnSetConvolutionMathType(q.conv, exact ? CUDNN_FMA_MATH : CUDNN_TENSOR_OP_MATH));
  const size_t most = workspace_bytes(p);
  int count = 0;
  std::vector<cudnnConvolutionFwdAlgoPerf_t> fwd(CUDNN_CONVOLUTION_FWD_ALGO_COUNT);
  if (cudnnGetConvolutionForwardAlgorithm_v7(handle, q.x, q.w, q.conv, q.y,
                                             static_cast<int>(fwd.size()), &count,
                                             fwd.data()) == CUDNN_STATUS_SUCCESS) {
    fwd.resize(count);
    pick(fwd, most, q.fwd, q.fwd_bytes);
  }
  std::vector<cudnnConvolutionBwdDataAlgoPerf_t> data(CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT);
  if (cudnnGetConvolutionBackwardDataAlgorithm_v7(handle, q.w, q.y, q.conv, q.x,
                                                  static_cast<int>(data.size()), &count,
                                                  data.data()) == CUDNN_STATUS_SUCCESS) {
    data.resize(count);
    pick(data, most, q.bwd_data, q.bwd_data_bytes);
  }
  std::vector<cudnnConvolutionBwdFilterAlgoPerf_t> filter(CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT);
  if (cudnnGetConvolutionBackwardFilterAlgorithm_v7(handle, q.x, q.y, q.conv, q.w,
                                                    static_cast<int>(filter.size()), &count,
                                                    filter.data()) == CUDNN_STATUS_SUCCESS) {
    filter.resize(count);
    pick(filter, most, q.bwd_filter, q.bwd_filter_bytes);
  }
  return q;
}

template <class P>
const Plan& plan_for(const P& p, const Launch& l, cudnnHandle_t& handle) {
  std::shared_ptr<void>& kept = l.libraries->impl().cudnn;
  if (!kept) kept = std::make_shared<State>();
  State& s = *static_cast<State*>(kept.get());
  handle = s.handle;
  KRAIT_CUDNN_CHECK(cudnnSetStream(handle, l.stream));
  const PatchGrid& g = p.grid;
  const std::vector<int64_t> key = {int64_t(p.dtype), p.allow_tf32, p.B, p.D, g.C, g.H, g.W, g.p,
                                    g.stride};
  auto at = s.plans.find(key);
  if (at == s.plans.end()) at = s.plans.emplace(key, make_plan(p, handle)).first;
  return at->second;
}

bool overlap(DType t, const PatchGrid& g) {
  return t != DType::f64 && g.stride < g.p;
}

constexpr float one = 1, zero = 0;

}  // namespace

bool patch_embed_fwd_cudnn_supports(const PatchEmbedFwd& p, const Device&) {
  return overlap(p.dtype, p.grid);
}
// cuDNN writes dw in the type of w, which would round a bf16 model's f32 gradient: not for those.
bool patch_embed_bwd_cudnn_supports(const PatchEmbedBwd& p, const Device&) {
  return overlap(p.dtype, p.grid) && (p.dtype == DType::f32 || !p.dw);
}
size_t patch_embed_fwd_cudnn_scratch(const PatchEmbedFwd& p) {
  return scratch(p);
}
size_t patch_embed_bwd_cudnn_scratch(const PatchEmbedBwd& p) {
  return scratch(p);
}

void patch_embed_fwd_cudnn(const PatchEmbedFwd& p, const Launch& l) {
  cudnnHandle_t handle;
  const Plan& q = plan_for(p, l, handle);
  if (q.fwd < 0) return patch_embed_fwd_gather_matmul(p, l);
  std::byte* planes = static_cast<std::byte*>(l.scratch);  // y as (B, D, P)
  KRAIT_CUDNN_CHECK(cudnnConvolutionForward(
      handle, &one, q.x, p.images, q.w, p.w, q.conv, static_cast<cudnnConvolutionFwdAlgo_t>(q.fwd),
      planes + planes_bytes(p), q.fwd_bytes, &zero, q.y, planes));
  transpose_planes(p.dtype, p.B, p.D, p.grid.patches(), planes, p.b, p.y, l.stream);
}

void patch_embed_bwd_cudnn(const PatchEmbedBwd& p, const Launch& l) {
  cudnnHandle_t handle;
  const Plan& q = plan_for(p, l, handle);
  if ((p.dw && q.bwd_filter < 0) || (p.dimages && q.bwd_data < 0))
    return patch_embed_bwd_gather_matmul(p, l);
  std::byte* planes = static_cast<std::byte*>(l.scratch);  // dy as (B, D, P)
  std::byte* workspace = planes + planes_bytes(p);
  if (p.dw || p.dimages)
    transpose_planes(p.dtype, p.B, p.grid.patches(), p.D, p.dy, nullptr, planes, l.stream);
  if (p.dw)
    KRAIT_CUDNN_CHECK(
        cudnnConvolutionBackwardFilter(handle, &one, q.x, p.images, q.y, planes, q.conv,
                                       static_cast<cudnnConvolutionBwdFilterAlgo_t>(q.bwd_filter),
                                       workspace, q.bwd_filter_bytes, &one, q.w, p.dw));
  if (p.dimages)
    KRAIT_CUDNN_CHECK(cudnnConvolutionBackwardData(
        handle, &one, q.w, p.w, q.y, planes, q.conv,
        static_cast<cudnnConvolutionBwdDataAlgo_t>(q.bwd_data), workspace, q.bwd_data_bytes,
        p.accumulate_dimages ? &one : &zero, q.x, p.dimages));
  if (p.db) run_inner(by_matmul::bias(p), l, workspace);
}

}  // namespace krait
#endif
