// GPU rows for D up to 768 that is a multiple of 4. A group of 16 or 32 lanes owns a row of D
// channels at a time and keeps it in registers.
#include <numeric>

#include "kernels/common/device/quad.cuh"
#include "kernels/common/device/reduce.cuh"
#include "kernels/norm/parts.cuh"

namespace krait {
namespace {

constexpr int threads = 256;
constexpr int warps = threads / 32;
constexpr int64_t most_channels = 768;

// Sum over the `group` lanes of a row; each of them gets it.
template <int group>
__device__ float row_sum(float v) {
#pragma unroll
  for (int o = group / 2; o > 0; o /= 2) v += __shfl_xor_sync(0xFFFFFFFFu, v, o);
  return v;
}
__device__ float4 operator+(float4 a, float4 b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}
__device__ float4 operator*(float4 a, float4 b) {
  return {a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w};
}
__device__ float4 normed(float4 v, float mean, float rstd) {
  return {(v.x - mean) * rstd, (v.y - mean) * rstd, (v.z - mean) * rstd, (v.w - mean) * rstd};
}
__device__ float sum(float4 v) {
  return (v.x + v.y) + (v.z + v.w);
}

// A lane's share of a row: the quads at channels 4 (lane + group k). All its loads are issued
// before any is used.
template <int group, int quads>
struct Share {
  int lane, D;
  __device__ explicit Share(int64_t D) : lane(threadIdx.x % group), D(static_cast<int>(D)) {}
  __device__ int channel(int k) const { return 4 * (lane + group * k); }
  template <class T>
  __device__ void load(Quad<T> (&v)[quads], const void* row, int64_t at) const {
#pragma unroll
    for (int k = 0; k < quads; ++k) {
      v[k] = {};
      if (channel(k) < D) v[k] = load_quad(static_cast<const T*>(row) + at + channel(k));
    }
  }
  template <class T>
  __device__ void store(void* row, int64_t at, const float4 (&v)[quads], bool add = false) const {
#pragma unroll
    for (int k = 0; k < quads; ++k) {
      if (channel(k) >= D) continue;
      T* to = static_cast<T*>(row) + at + channel(k);
      store_quad(to, add ? unpack(load_quad(to)) + v[k] : v[k]);
    }
  }
};

// The angles of the lane's pairs. They stay in registers from row to row while the token is the
// same, and the grid is chosen so that it is: see aligned_blocks.
template <int group, int quads>
struct Angles {
  int64_t held = -2;  // row of the tables; -1: not rotated
  float2 cos[quads], sin[quads];
  __device__ void load(const Rotation& rotation, int64_t r, const Share<group, quads>& share) {
    const auto L = static_cast<uint32_t>(rotation.L);  // 32-bit division is several times cheaper
    const int64_t t = static_cast<uint32_t>(r) % L - (rotation.L - rotation.P);
    if (t == held) return;
    held = t;
#pragma unroll
    for (int k = 0; k < quads; ++k) {
      cos[k] = {1, 1}, sin[k] = {0, 0};
      if (t < 0 || share.channel(k) >= share.D) continue;
      const int64_t at = t * share.D + share.channel(k);
      const float4 c = load_quad(static_cast<const float*>(rotation.cos) + at);
      const float4 s = load_quad(static_cast<const float*>(rotation.sin) + at);
      cos[k] = {c.x, c.z}, sin[k] = {s.x, s.z};
    }
  }
  template <int direction>
  __device__ void turn(float4 (&v)[quads]) const {
#pragma unroll
    for (int k = 0; k < quads; ++k) {
      const float2 c = cos[k], s = {direction * sin[k].x, direction * sin[k].y};
      v[k] = {v[k].x * c.x - v[k].y * s.x, v[k].y * c.x + v[k].x * s.x, v[k].z * c.y - v[k].w * s.y,
              v[k].w * c.y + v[k].z * s.y};
    }
  }
};

template <int group>
__device__ int64_t first_row() {
  return int64_t{blockIdx.x} * (threads / group) + threadIdx.x / group;
}
template <int group>
__device__ int64_t row_step() {
  return int64_t{gridDim.x} * (threads / group);
}

// Blocks that share a multiprocessor: as many as the registers they need leave room for.
template <class X, int quads>
constexpr int fwd_residents = quads > 3        ? 2
                              : sizeof(X) == 4 ? 3
                                               : 4;

// Groups of one warp walk together, so that the shuffles of a row that does not exist do no harm.
template <class T, class X, int group, int quads>
__global__ void __launch_bounds__(threads, fwd_residents<X, quads>) fwd_registers(AddNormFwd p) {
  const Share<group, quads> share(p.D);
  Angles<group, quads> angles;
  const float part_of_row = 1.0f / static_cast<float>(p.D);
  const bool layer = p.kind == NormKind::layer;
  const int64_t first_of_warp = first_row<group>() - (threadIdx.x % 32) / group;
  for (int64_t r0 = first_of_warp; r0 < p.rows; r0 += row_step<group>()) {
    const int64_t r = r0 + (threadIdx.x % 32) / group;
    const bool real = r < p.rows;
    const int64_t at = (real ? r : r0) * p.D;
    float4 v[quads], w[quads];
    Quad<X> x[quads];
    if (p.residual) share.template load<float>(v, p.residual, at);
    if (p.x) share.template load<X>(x, p.x, at);
    if (p.rotation.cos) angles.load(p.rotation, real ? r : r0, share);
#pragma unroll
    for (int k = 0; k < quads; ++k)
      if (p.x) v[k] = p.residual ? v[k] + unpack(x[k]) : unpack(x[k]);
    if (p.rotation.cos) angles.template turn<1>(v);
    if (p.residual_out && real) share.template store<float>(p.residual_out, at, v);
    share.template load<float>(w, p.w, 0);  // on its way during the sums
    float total = 0, square = 0;
#pragma unroll
    for (int k = 0; k < quads; ++k) total += sum(v[k]);
    const float mean = layer ? row_sum<group>(total) * part_of_row : 0.0f;
#pragma unroll
    for (int k = 0; k < quads; ++k) {
      const float4 c = normed(v[k], mean, 1);
      if (share.channel(k) < share.D) square += sum(c * c);
    }
    const float rstd = rsqrtf(row_sum<group>(square) * part_of_row + static_cast<float>(p.eps));
    if (!real) continue;
#pragma unroll
    for (int k = 0; k < quads; ++k) v[k] = normed(v[k], mean, rstd) * w[k];
    if (p.b) {
      share.template load<float>(w, p.b, 0);
#pragma unroll
      for (int k = 0; k < quads; ++k) v[k] = v[k] + w[k];
    }
    share.template store<T>(p.y, at, v);
    if (share.lane == 0) {
      if (p.mean) static_cast<float*>(p.mean)[r] = mean;
      if (p.rstd) static_cast<float*>(p.rstd)[r] = rstd;
    }
  }
}

// Adds up what the block's warps have, warps in order: to (D).
template <int group, int quads>
__device__ void block_columns(float4 (&v)[quads], const Share<group, quads>& share, float* to) {
  extern __shared__ float of_warp[];  // (warps, D)
  __syncthreads();                    // it may still be read for the other sum
#pragma unroll
  for (int k = 0; k < quads; ++k) {
    if constexpr (group == 16) {
      v[k].x += __shfl_xor_sync(0xFFFFFFFFu, v[k].x, 16);
      v[k].y += __shfl_xor_sync(0xFFFFFFFFu, v[k].y, 16);
      v[k].z += __shfl_xor_sync(0xFFFFFFFFu, v[k].z, 16);
      v[k].w += __shfl_xor_sync(0xFFFFFFFFu, v[k].w, 16);
    }
  }
  if (threadIdx.x % 32 < group)
    share.template store<float>(of_warp, int64_t{threadIdx.x / 32} * share.D, v);
  __syncthreads();
  for (int d = threadIdx.x; d < share.D; d += threads) {
    float s = 0;
    for (int k = 0; k < warps; ++k) s += of_warp[k * share.D + d];
    to[d] = s;
  }
}

// A lane also keeps its channels' sums of dy n and dy over all rows that it visits: part (blocks,
// 2, D) gets dw's share and db's.
template <class T, class X, int group, int quads>
__global__ void __launch_bounds__(threads, quads <= 3 ? 2 : 1)
    bwd_registers(AddNormBwd p, float* part) {
  const Share<group, quads> share(p.D);
  Angles<group, quads> angles;
  const float part_of_row = 1.0f / static_cast<float>(p.D);
  const bool layer = p.kind == NormKind::layer;
  float4 dw[quads], db[quads];
#pragma unroll
  for (int k = 0; k < quads; ++k) dw[k] = db[k] = {0, 0, 0, 0};
  const int64_t first_of_warp = first_row<group>() - (threadIdx.x % 32) / group;
  for (int64_t r0 = first_of_warp; r0 < p.rows; r0 += row_step<group>()) {
    const int64_t r = r0 + (threadIdx.x % 32) / group;
    const bool real = r < p.rows;
    const int64_t row = real ? r : r0, at = row * p.D;
    float4 n[quads], up[quads], w[quads];
    Quad<T> dy[quads];
    const float mean = layer ? static_cast<const float*>(p.mean)[row] : 0.0f;
    const float rstd = static_cast<const float*>(p.rstd)[row];
    if (p.dy) {
      share.template load<float>(n, p.v, at);
      share.template load<T>(dy, p.dy, at);
    }
    if (p.dresidual_out) share.template load<float>(up, p.dresidual_out, at);
    share.template load<float>(w, p.w, 0);
    if (p.rotation.cos) angles.load(p.rotation, row, share);
    float4 dv[quads];  // first of all, g
#pragma unroll
    for (int k = 0; k < quads; ++k) dv[k] = {0, 0, 0, 0};
    if (p.dy) {
      float sum_g = 0, sum_gn = 0;
#pragma unroll
      for (int k = 0; k < quads; ++k) {
        const float4 dy_k = unpack(dy[k]);
        n[k] = normed(n[k], mean, rstd);
        if (real) {
          dw[k] = dw[k] + dy_k * n[k];
          db[k] = db[k] + dy_k;
        }
        dv[k] = dy_k * w[k];  // 0 in channels that are not there
        sum_g += sum(dv[k]);
        sum_gn += sum(dv[k] * n[k]);
      }
      const float mean_g = layer ? row_sum<group>(sum_g) * part_of_row : 0.0f;
      const float mean_gn = row_sum<group>(sum_gn) * part_of_row;
#pragma unroll
      for (int k = 0; k < quads; ++k)
        dv[k] = {rstd * (dv[k].x - mean_g - n[k].x * mean_gn),
                 rstd * (dv[k].y - mean_g - n[k].y * mean_gn),
                 rstd * (dv[k].z - mean_g - n[k].z * mean_gn),
                 rstd * (dv[k].w - mean_g - n[k].w * mean_gn)};
    }
    if (!real) continue;
    if (p.dresidual_out)
#pragma unroll
      for (int k = 0; k < quads; ++k) dv[k] = dv[k] + up[k];
    if (p.rotation.cos) angles.template turn<-1>(dv);
    if (p.dx) share.template store<X>(p.dx, at, dv, p.accumulate_dx);
    if (p.dresidual) share.template store<float>(p.dresidual, at, dv, p.accumulate_dresidual);
  }
  if (!part) return;
  part += int64_t{blockIdx.x} * 2 * share.D;
  if (p.dw) block_columns(dw, share, part);
  if (p.db) block_columns(db, share, part + share.D);
}

// The fewest lanes and quads that hold a row.
template <class F>
void with_shape(int64_t D, F&& f) {
  if (D <= 64)
    f.template operator()<16, 1>();
  else if (D <= 192)
    f.template operator()<16, 3>();
  else if (D <= 384)
    f.template operator()<32, 3>();
  else
    f.template operator()<32, 6>();
}

// Blocks of `groups` rows at a time for all rows, at most `most`. Where rows are rotated, all
// groups together take a multiple of L rows at a time, so each group stays at one token and reads
// its angles once.
unsigned aligned_blocks(const Rotation& rotation, int64_t rows, int64_t groups, int64_t most) {
  const int64_t blocks = blocks_for(rows, groups, most);
  if (!rotation.cos) return static_cast<unsigned>(blocks);
  const int64_t unit = rotation.L / std::gcd(rotation.L, groups);
  return static_cast<unsigned>(blocks < unit ? blocks : blocks / unit * unit);
}
constexpr int64_t most_fwd_blocks = 528;  // 4 on each of an H100's or H200's multiprocessors
constexpr int64_t most_bwd_blocks = 264;  // 2; everywhere, since it decides the order of the sums
unsigned bwd_blocks(const AddNormBwd& p) {
  return aligned_blocks(p.rotation, p.rows, threads / (p.D <= 192 ? 16 : 32), most_bwd_blocks);
}
bool fits(int64_t rows, int64_t D, const Rotation& rotation) {
  return D % 4 == 0 && D <= most_channels && rows < int64_t{1} << 31 &&
         aligned_for_quads(rotation.cos, rotation.sin);
}

}  // namespace

bool add_norm_fwd_registers_supports(const AddNormFwd& p, const Device&) {
  return fits(p.rows, p.D, p.rotation) &&
         aligned_for_quads(p.x, p.residual, p.residual_out, p.y, p.w, p.b);
}
void add_norm_fwd_registers(const AddNormFwd& p, const Launch& l) {
  with_norm_types(p.dtype, p.x_dtype, [&]<class T, class X>() {
    with_shape(p.D, [&]<int group, int quads>() {
      const unsigned blocks = aligned_blocks(p.rotation, p.rows, threads / group, most_fwd_blocks);
      fwd_registers<T, X, group, quads><<<blocks, threads, 0, l.stream>>>(p);
    });
  });
}

bool add_norm_bwd_registers_supports(const AddNormBwd& p, const Device&) {
  return fits(p.rows, p.D, p.rotation) &&
         aligned_for_quads(p.v, p.dy, p.dresidual_out, p.dx, p.dresidual, p.w);
}
size_t add_norm_bwd_registers_scratch(const AddNormBwd& p) {
  return sums_rows(p) ? bwd_blocks(p) * 2 * p.D * sizeof(float) : 0;
}
void add_norm_bwd_registers(const AddNormBwd& p, const Launch& l) {
  auto part = sums_rows(p) ? static_cast<float*>(l.scratch) : nullptr;  // (blocks, 2, D)
  const unsigned blocks = bwd_blocks(p);
  with_norm_types(p.dtype, p.x_dtype, [&]<class T, class X>() {
    with_shape(p.D, [&]<int group, int quads>() {
      bwd_registers<T, X, group, quads>
          <<<blocks, threads, warps * p.D * sizeof(float), l.stream>>>(p, part);
    });
  });
  if (part) add_parts(p, part, blocks, l.stream);
}

}  // namespace krait
