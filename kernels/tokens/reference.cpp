// The definition of the kernels on tokens: plain loops.
#include "kernels/tokens/rows.h"

namespace krait {
namespace {

// to = v, or to += v
template <class T, class A>
void put(T& to, A v, bool add) {
  to = T(add ? A(to) + v : v);
}
// How often token l is among the chosen ones.
int times_chosen(const MeanTokensBwd& p, int64_t l) {
  if (p.count == 0) return l >= p.first;
  int n = 0;
  for (int i = 0; i < p.count; ++i) n += p.which[i] == l;
  return n;
}

}  // namespace

void place_tokens_fwd_reference(const PlaceTokensFwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    const int64_t L = p.P + p.classes, D = p.D;
    for (int64_t b = 0; b < p.B; ++b)
      for (int64_t l = 0; l < L; ++l) {
        int64_t patch;
        const int i = class_at(p, l, patch);
        for (int64_t d = 0; d < D; ++d) {
          const A v = i >= 0 ? static_cast<const A*>(p.cls[i])[d]
                             : A(static_cast<const T*>(p.patches)[(b * p.P + patch) * D + d]);
          const A pos = p.pos ? static_cast<const A*>(p.pos)[l * D + d] : A(0);
          static_cast<A*>(p.y)[(b * L + l) * D + d] = v + pos;
        }
      }
  });
}

void place_tokens_bwd_reference(const PlaceTokensBwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    const int64_t L = p.P + p.classes, D = p.D;
    for (int64_t b = 0; b < p.B; ++b)
      for (int64_t l = 0; l < L; ++l) {
        int64_t patch;
        const int i = class_at(p, l, patch);
        for (int64_t d = 0; d < D; ++d) {
          const A dy = static_cast<const A*>(p.dy)[(b * L + l) * D + d];
          if (p.dpos) static_cast<A*>(p.dpos)[l * D + d] += dy;
          if (i >= 0 && p.dcls[i]) static_cast<A*>(p.dcls[i])[d] += dy;
          if (i < 0 && p.dpatches)
            put(static_cast<T*>(p.dpatches)[(b * p.P + patch) * D + d], dy, p.accumulate_dpatches);
        }
      }
  });
}

void reverse_tokens_reference(const ReverseTokens& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    for (int64_t b = 0; b < p.B; ++b)
      for (int64_t l = 0; l < p.L; ++l)
        for (int64_t d = 0; d < p.D; ++d)
          put(static_cast<T*>(p.y)[(b * p.L + l) * p.D + d],
              A(static_cast<const T*>(p.x)[(b * p.L + p.L - 1 - l) * p.D + d]), p.accumulate);
  });
}

void mean_tokens_fwd_reference(const MeanTokensFwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    const int64_t n = p.count ? p.count : p.L - p.first;
    for (int64_t b = 0; b < p.B; ++b)
      for (int64_t d = 0; d < p.D; ++d) {
        A sum = 0;
        for (int64_t i = 0; i < n; ++i) {
          const int64_t l = p.count ? p.which[i] : p.first + i;
          sum += A(static_cast<const T*>(p.x)[(b * p.L + l) * p.D + d]);
        }
        static_cast<T*>(p.y)[b * p.D + d] = T(sum / A(n));
      }
  });
}

void mean_tokens_bwd_reference(const MeanTokensBwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    const A n = A(p.count ? p.count : p.L - p.first);
    for (int64_t b = 0; b < p.B; ++b)
      for (int64_t l = 0; l < p.L; ++l)
        for (int64_t d = 0; d < p.D; ++d)
          put(static_cast<T*>(p.dx)[(b * p.L + l) * p.D + d],
              A(static_cast<const T*>(p.dy)[b * p.D + d]) * (A(times_chosen(p, l)) / n),
              p.accumulate);
  });
}

void max_tokens_fwd_reference(const MaxTokensFwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    for (int64_t b = 0; b < p.B; ++b)
      for (int64_t c = 0; c < p.C; ++c) {
        const T* x = static_cast<const T*>(p.x) + b * p.L * p.C + c;
        int64_t best = 0;
        for (int64_t l = 1; l < p.L; ++l)
          if (A(x[l * p.C]) > A(x[best * p.C])) best = l;
        static_cast<T*>(p.y)[b * p.C + c] = x[best * p.C];
        p.argmax[b * p.C + c] = static_cast<int32_t>(best);
      }
  });
}

void max_tokens_bwd_reference(const MaxTokensBwd& p, const Launch&) {
  dispatch_float(p.dtype, [&]<class T>() {
    using A = accum_t<T>;
    for (int64_t b = 0; b < p.B; ++b)
      for (int64_t l = 0; l < p.L; ++l)
        for (int64_t c = 0; c < p.C; ++c)
          put(static_cast<T*>(p.dx)[(b * p.L + l) * p.C + c],
              p.argmax[b * p.C + c] == l ? A(static_cast<const T*>(p.dy)[b * p.C + c]) : A(0),
              p.accumulate);
  });
}

}  // namespace krait
