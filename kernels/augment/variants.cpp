// The tables. To add a variant: write it, declare it in augment.h or pictures.h, add a row here.
#include "kernels/augment/augment.h"
#include "kernels/augment/pictures.h"

namespace krait {

template <>
std::span<const Variant<AugmentPictures>> variants<AugmentPictures>() {
  static constexpr Variant<AugmentPictures> table[] = {
#if KRAIT_CUDA
    {"block_per_picture", Backend::cuda, augment_pictures_block_per_picture, nullptr,
     augment_pictures_scratch},
#endif
    {"openmp", Backend::cpu, augment_pictures_openmp},
    {"reference", Backend::cpu, augment_pictures_reference},
  };
  return table;
}

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
