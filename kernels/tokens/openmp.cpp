// CPU rows: images (or, where the batch is summed, tokens) are shared out to threads.
#include "kernels/tokens/rows.h"

namespace krait {
namespace {

const void* at(const void* p, int64_t i, DType t) {
  return p ? static_cast<const std::byte*>(p) + i * static_cast<int64_t>(size_of(t)) : nullptr;
}
void* at(void* p, int64_t i, DType t) {
  return p ? static_cast<std::byte*>(p) + i * static_cast<int64_t>(size_of(t)) : nullptr;
}

// Calls f(b) for every image.
template <class F>
void for_images(int64_t B, F&& f) {
#pragma omp parallel for schedule(static)
  for (int64_t b = 0; b < B; ++b) f(b);
}

}  // namespace

void place_tokens_fwd_openmp(const PlaceTokensFwd& p, const Launch& l) {
  for_images(p.B, [&](int64_t b) {
    PlaceTokensFwd q = p;
    q.B = 1;
    q.patches = at(p.patches, b * p.P * p.D, p.dtype);
    q.y = at(p.y, b * (p.P + p.classes) * p.D, accum(p.dtype));
    place_tokens_fwd_reference(q, l);
  });
}

void place_tokens_bwd_openmp(const PlaceTokensBwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    const int64_t L = p.P + p.classes, D = p.D;
#pragma omp parallel for schedule(static)
    for (int64_t l = 0; l < L; ++l) {
      int64_t patch;
      const int i = class_at(p, l, patch);
      A* dpos = p.dpos ? static_cast<A*>(p.dpos) + l * D : nullptr;
      A* dcls = i >= 0 ? static_cast<A*>(p.dcls[i]) : nullptr;
      for (int64_t b = 0; b < p.B; ++b) {
        const A* dy = static_cast<const A*>(p.dy) + (b * L + l) * D;
        if (dpos)
          for (int64_t d = 0; d < D; ++d) dpos[d] += dy[d];
        if (dcls)
          for (int64_t d = 0; d < D; ++d) dcls[d] += dy[d];
        if (i >= 0 || !p.dpatches) continue;
        T* to = static_cast<T*>(p.dpatches) + (b * p.P + patch) * D;
        for (int64_t d = 0; d < D; ++d) to[d] = T(p.accumulate_dpatches ? A(to[d]) + dy[d] : dy[d]);
      }
    }
  });
}

void reverse_tokens_openmp(const ReverseTokens& p, const Launch& l) {
  for_images(p.B, [&](int64_t b) {
    ReverseTokens q = p;
    q.B = 1;
    q.x = at(p.x, b * p.L * p.D, p.dtype);
    q.y = at(p.y, b * p.L * p.D, p.dtype);
    reverse_tokens_reference(q, l);
  });
}

void mean_tokens_fwd_openmp(const MeanTokensFwd& p, const Launch& l) {
  for_images(p.B, [&](int64_t b) {
    MeanTokensFwd q = p;
    q.B = 1;
    q.x = at(p.x, b * p.L * p.D, p.dtype);
    q.y = at(p.y, b * p.D, p.dtype);
    mean_tokens_fwd_reference(q, l);
  });
}

void mean_tokens_bwd_openmp(const MeanTokensBwd& p, const Launch& l) {
  for_images(p.B, [&](int64_t b) {
    MeanTokensBwd q = p;
    q.B = 1;
    q.dy = at(p.dy, b * p.D, p.dtype);
    q.dx = at(p.dx, b * p.L * p.D, p.dtype);
    mean_tokens_bwd_reference(q, l);
  });
}

void max_tokens_fwd_openmp(const MaxTokensFwd& p, const Launch& l) {
  for_images(p.B, [&](int64_t b) {
    MaxTokensFwd q = p;
    q.B = 1;
    q.x = at(p.x, b * p.L * p.C, p.dtype);
    q.y = at(p.y, b * p.C, p.dtype);
    q.argmax = p.argmax + b * p.C;
    max_tokens_fwd_reference(q, l);
  });
}

void max_tokens_bwd_openmp(const MaxTokensBwd& p, const Launch& l) {
  for_images(p.B, [&](int64_t b) {
    MaxTokensBwd q = p;
    q.B = 1;
    q.dy = at(p.dy, b * p.C, p.dtype);
    q.argmax = p.argmax + b * p.C;
    q.dx = at(p.dx, b * p.L * p.C, p.dtype);
    max_tokens_bwd_reference(q, l);
  });
}

}  // namespace krait
