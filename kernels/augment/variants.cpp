// The table. To add a variant: write it, declare it in augment.h, add a row here. Nothing else.
#include "kernels/augment/augment.h"

namespace krait {

template <>
std::span<const Variant<MakeBatch>> variants<MakeBatch>() {
  static constexpr Variant<MakeBatch> table[] = {
#if KRAIT_CUDA
    {"block_per_picture", Backend::cuda, make_batch_block_per_picture},
#endif
    {"openmp", Backend::cpu, make_batch_openmp,
     [](const MakeBatch& p, const Device&) { return p.dtype != DType::f64; }},
    {"reference", Backend::cpu, make_batch_reference},
  };
  return table;
}

}  // namespace krait
