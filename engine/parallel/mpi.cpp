// Ranks that talk through MPI.
#include "engine/parallel/backends.h"

#if KRAIT_MPI
#include <algorithm>
#include <cstdlib>
#include <mpi.h>
#endif

namespace krait {

#if KRAIT_MPI
namespace {

// MPI counts in int: `each` gets pieces that fit.
template <class F>
void in_pieces(size_t bytes, F&& each) {
  constexpr size_t most = size_t{1} << 30;
  for (size_t at = 0; at < bytes; at += most)
    each(at, static_cast<int>(std::min(most, bytes - at)));
}

// Rank r adds up the r-th part of an array: all parts are exchanged while the backward pass goes
// on, and added in order of rank at its end, so that the bits do not depend on which algorithm MPI
// would choose, or on who comes first. The traffic is that of a ring.
class MpiSum : public Sum {
 public:
  explicit MpiSum(const Ranks& ranks) : size_(ranks.size()), rank_(ranks.rank()) {}
  std::string name() const override { return "MPI"; }
  void start(float* values, int64_t n) override {
    KRAIT_CHECK(n < int64_t{1} << 31, "MpiSum: ", n, " values at once");
    if (used_ == pending_.size()) pending_.push_back(std::make_unique<Pending>());
    Pending& p = *pending_[used_++];
    p.values = values;
    p.first.resize(size_), p.count.resize(size_), p.from.resize(size_), p.mine.resize(size_);
    for (int r = 0; r < size_; ++r) {
      p.first[r] = static_cast<int>(n * r / size_);
      p.count[r] = static_cast<int>(n * (r + 1) / size_) - p.first[r];
    }
    for (int r = 0; r < size_; ++r) {
      p.mine[r] = p.count[rank_];
      p.from[r] = r * p.count[rank_];
    }
    p.received.resize(std::max<size_t>(1, static_cast<size_t>(p.count[rank_]) * size_));
    MPI_Ialltoallv(values, p.count.data(), p.first.data(), MPI_FLOAT, p.received.data(),
                   p.mine.data(), p.from.data(), MPI_FLOAT, MPI_COMM_WORLD, &p.request);
  }

  void finish() override {
    for (size_t k = 0; k < used_; ++k) {
      Pending& p = *pending_[k];
      MPI_Wait(&p.request, MPI_STATUS_IGNORE);
      float* const sums = p.values + p.first[rank_];
      const int n = p.count[rank_];
      std::copy_n(p.received.data(), n, sums);
      for (int r = 1; r < size_; ++r) {
        const float* more = p.received.data() + p.from[r];
        for (int i = 0; i < n; ++i) sums[i] += more[i];
      }
      MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, p.values, p.count.data(), p.first.data(),
                      MPI_FLOAT, MPI_COMM_WORLD, &p.request);
    }
    for (size_t k = 0; k < used_; ++k) MPI_Wait(&pending_[k]->request, MPI_STATUS_IGNORE);
    used_ = 0;
  }

 private:
  struct Pending {
    float* values = nullptr;
    std::vector<int> first, count, from, mine;
    std::vector<float> received;  // this rank's part, of each rank
    MPI_Request request = MPI_REQUEST_NULL;
  };
  int size_, rank_;
  std::vector<std::unique_ptr<Pending>> pending_;  // kept from step to step
  size_t used_ = 0;
};

class MpiRanks : public Ranks {
 public:
  MpiRanks(int rank, int size, int local_rank, DeviceSum device_sum)
      : Ranks(rank, size, local_rank), device_sum_(std::move(device_sum)) {}
  ~MpiRanks() override { MPI_Finalize(); }

  std::string name() const override { return "MPI"; }
  void all_gather(const void* mine, void* all, size_t bytes) override {
    KRAIT_CHECK(bytes < size_t{1} << 31, "all_gather: ", bytes, " bytes");
    const int n = static_cast<int>(bytes);
    MPI_Allgather(mine, n, MPI_BYTE, all, n, MPI_BYTE, MPI_COMM_WORLD);
  }
  void broadcast(void* data, size_t bytes, int root) override {
    in_pieces(bytes, [&](size_t at, int n) {
      MPI_Bcast(static_cast<char*>(data) + at, n, MPI_BYTE, root, MPI_COMM_WORLD);
    });
  }
  std::unique_ptr<Sum> make_sum(Context& ctx) override {
    if (!ctx.stream()) return std::make_unique<MpiSum>(*this);
    if (size() == 1 && !device_sum_) return nullptr;
    KRAIT_INPUT(device_sum_, "this build has no NCCL, which several GPUs need (or --device cpu)");
    return device_sum_(ctx, *this);
  }
  [[noreturn]] void end_all(int status) override {
    MPI_Abort(MPI_COMM_WORLD, status);
    std::_Exit(status);
  }

 private:
  DeviceSum device_sum_;
};

}  // namespace

bool has_mpi() {
  return true;
}
std::unique_ptr<Ranks> mpi_ranks(int size, int local_rank, DeviceSum device_sum) {
  int provided = 0, rank = 0, counted = 0;
  // Only the main thread talks; but a thread that watches GPUs may end all.
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &counted);
  KRAIT_INPUT(counted == size, size, " processes were started, and MPI knows of ", counted,
              ": the mpirun and the MPI of this build do not belong together (with srun: "
              "--mpi=pmix)");
  return std::make_unique<MpiRanks>(rank, size, local_rank, std::move(device_sum));
}
#else
bool has_mpi() {
  return false;
}
std::unique_ptr<Ranks> mpi_ranks(int, int, DeviceSum) {
  throw InputError("this build has no MPI (cmake -DKRAIT_MPI=ON)");
}
#endif

}  // namespace krait
