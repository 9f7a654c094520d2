// GPU rows. A warp owns an image, a lane every 32nd class. The images' losses and ranks go to
// scratch; then one block adds them up, always in the same order.
#include <climits>

#include "kernels/common/device/dispatch.cuh"
#include "kernels/common/device/reduce.cuh"
#include "kernels/cross_entropy/rows.h"

namespace krait {
namespace {

constexpr int threads = 256;
constexpr int warps = threads / 32;

struct OfImage {
  float loss;
  int32_t rank;  // how many classes are ranked above the right one
};

struct Softmax {
  float most;  // the largest logit
  float sum;   // sum_c exp(x[c] - most)
};
template <class T>
__device__ Softmax softmax_of(const T* x, int64_t C) {
  const int lane = threadIdx.x % 32;
  float most = -INFINITY, sum = 0;
  for (int64_t c = lane; c < C; c += 32) most = fmaxf(most, float(x[c]));
  most = warp_max(most);
  for (int64_t c = lane; c < C; c += 32) sum += expf(float(x[c]) - most);
  return {most, warp_sum(sum)};
}

template <class T>
__global__ void fwd(CrossEntropyFwd p, OfImage* images) {
  const int64_t b = int64_t{blockIdx.x} * warps + threadIdx.x / 32;
  if (b >= p.B) return;
  const int lane = threadIdx.x % 32;
  const T* x = static_cast<const T*>(p.logits) + b * p.C;
  const float* t = static_cast<const float*>(p.targets) + b * p.C;
  const Softmax s = softmax_of(x, p.C);
  const float lse = s.most + logf(s.sum);
  // The loss, and the class of the largest target; of equal targets the first.
  float loss = 0, largest = -INFINITY;
  int64_t label = 0;
  for (int64_t c = lane; c < p.C; c += 32) {
    loss += t[c] * (lse - float(x[c]));
    if (t[c] > largest) largest = t[c], label = c;
  }
  loss = warp_sum(loss);
  for (int o = 16; o > 0; o /= 2) {
    const float other = __shfl_xor_sync(0xFFFFFFFFu, largest, o);
    const int64_t at = __shfl_xor_sync(0xFFFFFFFFu, label, o);
    if (other > largest || (other == largest && at < label)) largest = other, label = at;
  }
  // Where that class ranks; a logit that is not a number ranks above all others.
  const float right = float(x[label]);
  int rank = 0;
  for (int64_t c = lane; c < p.C; c += 32) {
    const float v = float(x[c]);
    if (!(v <= right) || (v == right && c < label)) ++rank;
  }
  for (int o = 16; o > 0; o /= 2) rank += __shfl_xor_sync(0xFFFFFFFFu, rank, o);
  if (lane == 0) images[b] = {loss, rank};
  if (!p.predictions) return;
  // s.most is the largest logit that is a number; -infinity where there is none.
  int guess = INT_MAX;
  for (int64_t c = lane; c < p.C; c += 32)
    if (float(x[c]) == s.most) guess = min(guess, int(c));
  for (int o = 16; o > 0; o /= 2) guess = min(guess, __shfl_xor_sync(0xFFFFFFFFu, guess, o));
  if (lane == 0)
    p.predictions[(p.state ? p.state->first : 0) + b] = {
        .label = guess == INT_MAX ? -1 : guess, .probability = expf(s.most - lse), .loss = loss};
}

// One block: thread i adds images i, i + 256, ..; then halves of the threads are added.
__global__ void add_images(CrossEntropyFwd p, const OfImage* images) {
  __shared__ double loss[threads];
  __shared__ long long top1[threads], top5[threads];
  const int i = threadIdx.x;
  loss[i] = 0;
  top1[i] = top5[i] = 0;
  for (int64_t b = i; b < p.B; b += threads) {
    loss[i] += double(images[b].loss);
    top1[i] += images[b].rank < 1;
    top5[i] += images[b].rank < 5;
  }
  for (int half = threads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (i >= half) continue;
    loss[i] += loss[i + half];
    top1[i] += top1[i + half];
    top5[i] += top5[i + half];
  }
  if (i > 0) return;
  *static_cast<float*>(p.loss) = float(loss[0] / double(p.B));
  if (p.totals) {
    p.totals->loss += loss[0];
    p.totals->count += p.B;
    p.totals->top1 += top1[0];
    p.totals->top5 += top5[0];
  }
}

template <class T>
__global__ void bwd(CrossEntropyBwd p) {
  const int64_t b = int64_t{blockIdx.x} * warps + threadIdx.x / 32;
  if (b >= p.B) return;
  const int lane = threadIdx.x % 32;
  const T* x = static_cast<const T*>(p.logits) + b * p.C;
  const float* t = static_cast<const float*>(p.targets) + b * p.C;
  T* dx = static_cast<T*>(p.dlogits) + b * p.C;
  const float scale = *static_cast<const float*>(p.dloss) / float(p.B);
  const Softmax s = softmax_of(x, p.C);
  float all = 0;
  for (int64_t c = lane; c < p.C; c += 32) all += t[c];
  const float share = warp_sum(all) / s.sum;
  for (int64_t c = lane; c < p.C; c += 32) {
    const float g = scale * (expf(float(x[c]) - s.most) * share - t[c]);
    dx[c] = T(p.accumulate ? float(dx[c]) + g : g);
  }
}

}  // namespace

size_t cross_entropy_fwd_image_per_warp_scratch(const CrossEntropyFwd& p) {
  return p.B * sizeof(OfImage);
}
void cross_entropy_fwd_image_per_warp(const CrossEntropyFwd& p, const Launch& l) {
  auto images = static_cast<OfImage*>(l.scratch);  // (B)
  dispatch_gpu(p.dtype, [&]<class T>() {
    fwd<T><<<blocks_for(p.B, warps), threads, 0, l.stream>>>(p, images);
  });
  add_images<<<1, threads, 0, l.stream>>>(p, images);
}
void cross_entropy_bwd_image_per_warp(const CrossEntropyBwd& p, const Launch& l) {
  dispatch_gpu(p.dtype,
               [&]<class T>() { bwd<T><<<blocks_for(p.B, warps), threads, 0, l.stream>>>(p); });
}

}  // namespace krait
