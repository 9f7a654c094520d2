// The tables of the convolution of pictures.
#include "kernels/conv2d/rows.h"

namespace krait {

template <>
std::span<const Variant<Conv2dFwd>> variants<Conv2dFwd>() {
  static constexpr Variant<Conv2dFwd> table[] = {
#if KRAIT_CUDA
    {"gather_matmul", Backend::cuda, conv2d_fwd_gather_matmul, conv2d_fwd_gather_matmul_supports,
     conv2d_fwd_gather_matmul_scratch},
#endif
#if KRAIT_CUDNN
    {"cudnn", Backend::cuda, conv2d_fwd_cudnn, conv2d_fwd_cudnn_supports, conv2d_fwd_cudnn_scratch},
#endif
    {"gather_blas", Backend::cpu, conv2d_fwd_gather_blas, conv2d_fwd_gather_fits,
     conv2d_fwd_gather_blas_scratch},
    {"reference", Backend::cpu, conv2d_fwd_reference},
  };
  return table;
}

template <>
std::span<const Variant<Conv2dBwd>> variants<Conv2dBwd>() {
  static constexpr Variant<Conv2dBwd> table[] = {
#if KRAIT_CUDA
    {"gather_matmul", Backend::cuda, conv2d_bwd_gather_matmul, conv2d_bwd_gather_matmul_supports,
     conv2d_bwd_gather_matmul_scratch},
#endif
#if KRAIT_CUDNN
    {"cudnn", Backend::cuda, conv2d_bwd_cudnn, conv2d_bwd_cudnn_supports, conv2d_bwd_cudnn_scratch},
#endif
    {"gather_blas", Backend::cpu, conv2d_bwd_gather_blas, conv2d_bwd_gather_fits,
     conv2d_bwd_gather_blas_scratch},
    {"reference", Backend::cpu, conv2d_bwd_reference},
  };
  return table;
}

}  // namespace krait
