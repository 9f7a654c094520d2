// CPU rows for f32: images are divided among threads, each image's loss and rank are put in scratch
// and added up in order by one thread, so the result does not depend on the number of threads.
#include <cmath>

#include "kernels/cross_entropy/rows.h"

namespace krait {
namespace {

constexpr int64_t alone = 1 << 13;  // so few logits are not worth a second thread

struct OfImage {
  double loss;
  int64_t rank;  // how many classes are ranked above the right one
};

struct Softmax {
  float most;  // the largest logit
  float sum;   // sum_c exp(x[c] - most)
};
Softmax softmax_of(const float* x, int64_t C) {
  Softmax s{x[0], 0};
  float most = x[0], sum = 0;
#pragma omp simd reduction(max : most)
  for (int64_t c = 1; c < C; ++c) most = x[c] > most ? x[c] : most;
#pragma omp simd reduction(+ : sum)
  for (int64_t c = 0; c < C; ++c) sum += std::exp(x[c] - most);
  s.most = most;
  s.sum = sum;
  return s;
}

}  // namespace

bool cross_entropy_fwd_openmp_supports(const CrossEntropyFwd& p, const Device&) {
  return p.dtype == DType::f32;
}
size_t cross_entropy_fwd_openmp_scratch(const CrossEntropyFwd& p) {
  return p.B * sizeof(OfImage);
}
void cross_entropy_fwd_openmp(const CrossEntropyFwd& p, const Launch& l) {
  auto* images = static_cast<OfImage*>(l.scratch);  // (B)
#pragma omp parallel for schedule(static) if (p.B * p.C > alone)
  for (int64_t b = 0; b < p.B; ++b) {
    const float* x = static_cast<const float*>(p.logits) + b * p.C;
    const float* t = static_cast<const float*>(p.targets) + b * p.C;
    const Softmax s = softmax_of(x, p.C);
    const float lse = s.most + std::log(s.sum);
    float loss = 0;
#pragma omp simd reduction(+ : loss)
    for (int64_t c = 0; c < p.C; ++c) loss += t[c] * (lse - x[c]);
    int64_t label = 0, rank = 0;
    for (int64_t c = 1; c < p.C; ++c) label = t[c] > t[label] ? c : label;
    for (int64_t c = 0; c < p.C; ++c)
      rank += !(x[c] <= x[label]) || (x[c] == x[label] && c < label);
    images[b] = {loss, rank};
    if (!p.predictions) continue;
    int64_t guess = 0;
    for (int64_t c = 1; c < p.C; ++c) guess = x[c] > x[guess] || std::isnan(x[guess]) ? c : guess;
    p.predictions[(p.state ? p.state->first : 0) + b] = {
        .label = std::isnan(x[guess]) ? -1 : static_cast<int32_t>(guess),
        .probability = std::exp(x[guess] - lse),
        .loss = loss};
  }
  double sum = 0;
  int64_t top1 = 0, top5 = 0;
  for (int64_t b = 0; b < p.B; ++b) {
    sum += images[b].loss;
    top1 += images[b].rank < 1;
    top5 += images[b].rank < 5;
  }
  *static_cast<float*>(p.loss) = static_cast<float>(sum / static_cast<double>(p.B));
  if (p.totals) {
    p.totals->loss += sum;
    p.totals->count += p.B;
    p.totals->top1 += top1;
    p.totals->top5 += top5;
  }
}

bool cross_entropy_bwd_openmp_supports(const CrossEntropyBwd& p, const Device&) {
  return p.dtype == DType::f32;
}
void cross_entropy_bwd_openmp(const CrossEntropyBwd& p, const Launch&) {
  const float scale = *static_cast<const float*>(p.dloss) / static_cast<float>(p.B);
#pragma omp parallel for schedule(static) if (p.B * p.C > alone)
  for (int64_t b = 0; b < p.B; ++b) {
    const float* x = static_cast<const float*>(p.logits) + b * p.C;
    const float* t = static_cast<const float*>(p.targets) + b * p.C;
    float* dx = static_cast<float*>(p.dlogits) + b * p.C;
    const Softmax s = softmax_of(x, p.C);
    float all = 0;
#pragma omp simd reduction(+ : all)
    for (int64_t c = 0; c < p.C; ++c) all += t[c];
    const float share = all / s.sum;
    for (int64_t c = 0; c < p.C; ++c) {
      const float g = scale * (std::exp(x[c] - s.most) * share - t[c]);
      dx[c] = p.accumulate ? dx[c] + g : g;
    }
  }
}

}  // namespace krait
