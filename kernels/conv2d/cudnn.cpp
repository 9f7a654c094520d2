// GPU rows by cuDNN, channels last: no gathered copy. Only algorithms that give the same bits every
// time; where there is none for a shape, and for the gradient of w (which cuDNN would round to
// bf16), gather_matmul does it.
#if KRAIT_CUDNN
#include <cudnn.h>
#include <map>
#include <vector>

#include "kernels/common/libraries_impl.h"
#include "kernels/conv2d/by_matmul.h"
#include "kernels/conv2d/rows.h"

namespace krait {
namespace {

#define KRAIT_CUDNN_CHECK(call)                                   \
  do {                                                            \
    cudnnStatus_t krait_status = (call);                          \
    KRAIT_CHECK(krait_status == CUDNN_STATUS_SUCCESS, #call ": ", \
                cudnnGetErrorString(krait_status));               \
  } while (0)

constexpr size_t workspace_bytes = size_t{64} << 20;
constexpr float one = 1, zero = 0;

// What cuDNN needs for one shape, chosen once. An algorithm that was not found is -1.
struct Plan {
  cudnnTensorDescriptor_t x = nullptr, y = nullptr;
  cudnnFilterDescriptor_t w = nullptr;
  cudnnConvolutionDescriptor_t conv = nullptr;
  int fwd = -1, bwd_data = -1;
  size_t fwd_bytes = 0, bwd_data_bytes = 0;
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

// The fastest algorithm by cuDNN's own estimate that gives the same bits every time.
template <class Perf>
void pick(const std::vector<Perf>& found, int count, int& algorithm, size_t& bytes) {
  for (int i = 0; i < count; ++i) {
    const Perf& f = found[i];
    if (f.status != CUDNN_STATUS_SUCCESS || f.determinism != CUDNN_DETERMINISTIC ||
        f.memory > workspace_bytes)
      continue;
    algorithm = static_cast<int>(f.algo);
    bytes = f.memory;
    return;
  }
}

Plan make_plan(DType dtype, const ConvShape& s, bool allow_tf32, cudnnHandle_t handle) {
  auto i = [](int64_t v) { return static_cast<int>(v); };
  const cudnnDataType_t type = dtype == DType::bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
  Plan q;
  KRAIT_CUDNN_CHECK(cudnnCreateTensorDescriptor(&q.x));
  KRAIT_CUDNN_CHECK(cudnnCreateTensorDescriptor(&q.y));
  KRAIT_CUDNN_CHECK(cudnnCreateFilterDescriptor(&q.w));
  KRAIT_CUDNN_CHECK(cudnnCreateConvolutionDescriptor(&q.conv));
  KRAIT_CUDNN_CHECK(
      cudnnSetTensor4dDescriptor(q.x, CUDNN_TENSOR_NHWC, type, i(s.B), i(s.C), i(s.H), i(s.W)));
  KRAIT_CUDNN_CHECK(cudnnSetTensor4dDescriptor(q.y, CUDNN_TENSOR_NHWC, type, i(s.B), i(s.D),
                                               i(s.high()), i(s.wide())));
  KRAIT_CUDNN_CHECK(
      cudnnSetFilter4dDescriptor(q.w, type, CUDNN_TENSOR_NHWC, i(s.D), i(s.C), i(s.k), i(s.k)));
  KRAIT_CUDNN_CHECK(cudnnSetConvolution2dDescriptor(q.conv, i(s.pad), i(s.pad), i(s.stride),
                                                    i(s.stride), 1, 1, CUDNN_CROSS_CORRELATION,
                                                    CUDNN_DATA_FLOAT));
  // Left to itself cuDNN rounds f32 to TF32.
  const bool exact = dtype == DType::f32 && !allow_tf32;
  KRAIT_CUDNN_CHECK(
      cudnnSetConvolutionMathType(q.conv, exact ? CUDNN_FMA_MATH : CUDNN_TENSOR_OP_MATH));
  int count = 0;
  std::vector<cudnnConvolutionFwdAlgoPerf_t> fwd(CUDNN_CONVOLUTION_FWD_ALGO_COUNT);
  if (cudnnGetConvolutionForwardAlgorithm_v7(handle, q.x, q.w, q.conv, q.y, i(fwd.size()), &count,
                                             fwd.data()) == CUDNN_STATUS_SUCCESS)
    pick(fwd, count, q.fwd, q.fwd_bytes);
  std::vector<cudnnConvolutionBwdDataAlgoPerf_t> data(CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT);
  if (cudnnGetConvolutionBackwardDataAlgorithm_v7(handle, q.w, q.y, q.conv, q.x, i(data.size()),
                                                  &count, data.data()) == CUDNN_STATUS_SUCCESS)
    pick(data, count, q.bwd_data, q.bwd_data_bytes);
  return q;
}

template <class P>
const Plan& plan_for(const P& p, const Launch& l, cudnnHandle_t& handle) {
  std::shared_ptr<void>& kept = l.libraries->impl().conv2d_cudnn;
  if (!kept) kept = std::make_shared<State>();
  State& state = *static_cast<State*>(kept.get());
  handle = state.handle;
  KRAIT_CUDNN_CHECK(cudnnSetStream(handle, l.stream));
  const ConvShape& s = p.shape;
  const std::vector<int64_t> key = {int64_t(p.dtype), p.allow_tf32, s.B, s.H, s.W, s.C, s.D, s.k,
                                    s.stride,         s.pad};
  auto at = state.plans.find(key);
  if (at == state.plans.end())
    at = state.plans.emplace(key, make_plan(p.dtype, s, p.allow_tf32, handle)).first;
  return at->second;
}

// Rows of wp must not be filled up, and sizes must be int.
template <class P>
bool fits(const P& p) {
  const ConvShape& s = p.shape;
  const int64_t most = int64_t{1} << 31;
  return p.dtype != DType::f64 && s.numbers() % 8 == 0 && s.D % 8 == 0 &&
         s.B * s.H * s.W * s.C < most && s.B * s.outputs() * s.D < most;
}
// wp, then cuDNN's workspace; or whatever gather_matmul wants.
template <class P>
size_t weight_bytes(const P& p) {
  return conv_by_matmul::rounded(p.shape.D * p.shape.numbers() * size_of(p.dtype));
}
template <class P>
size_t scratch(const P& p) {
  return std::max({weight_bytes(p) + workspace_bytes, conv_by_matmul::scratch(p, Backend::cuda),
                   inner_bytes(conv_by_matmul::bias(p), Backend::cuda)});
}

}  // namespace

bool conv2d_fwd_cudnn_supports(const Conv2dFwd& p, const Device& device) {
  return fits(p) && conv2d_fwd_gather_matmul_supports(p, device);
}
bool conv2d_bwd_cudnn_supports(const Conv2dBwd& p, const Device& device) {
  return fits(p) && conv2d_bwd_gather_matmul_supports(p, device);
}
size_t conv2d_fwd_cudnn_scratch(const Conv2dFwd& p) {
  return scratch(p);
}
size_t conv2d_bwd_cudnn_scratch(const Conv2dBwd& p) {
  return scratch(p);
}

void conv2d_fwd_cudnn(const Conv2dFwd& p, const Launch& l) {
  cudnnHandle_t handle;
  const Plan& q = plan_for(p, l, handle);
  if (q.fwd < 0) return conv2d_fwd_gather_matmul(p, l);
  std::byte* wp = static_cast<std::byte*>(l.scratch);
  conv2d_spread_weights(p.dtype, p.shape, p.w, wp, l.stream);
  KRAIT_CUDNN_CHECK(cudnnConvolutionForward(handle, &one, q.x, p.x, q.w, wp, q.conv,
                                            static_cast<cudnnConvolutionFwdAlgo_t>(q.fwd),
                                            wp + weight_bytes(p), q.fwd_bytes, &zero, q.y, p.y));
  if (p.b) run_inner(conv_by_matmul::bias(p), l, l.scratch);
}

void conv2d_bwd_cudnn(const Conv2dBwd& p, const Launch& l) {
  cudnnHandle_t handle;
  const Plan& q = plan_for(p, l, handle);
  if (!p.dx || q.bwd_data < 0) return conv2d_bwd_gather_matmul(p, l);
  std::byte* wp = static_cast<std::byte*>(l.scratch);
  conv2d_spread_weights(p.dtype, p.shape, p.w, wp, l.stream);
  KRAIT_CUDNN_CHECK(cudnnConvolutionBackwardData(
      handle, &one, q.w, wp, q.y, p.dy, q.conv,
      static_cast<cudnnConvolutionBwdDataAlgo_t>(q.bwd_data), wp + weight_bytes(p),
      q.bwd_data_bytes, p.accumulate_dx ? &one : &zero, q.x, p.dx));
  Conv2dBwd rest = p;  // dw and db; the stream has done with scratch by then
  rest.dx = nullptr;
  conv2d_bwd_gather_matmul(rest, l);
}

}  // namespace krait
#endif
