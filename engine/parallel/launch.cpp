// Reads the environment and starts what it asks for.
#include "engine/parallel/launch.h"

#include <cstdlib>
#include <string>

#include "engine/parallel/backends.h"
#include "engine/parallel/sockets.h"
#include "kernels/common/cuda.h"

namespace krait {
namespace {

using Variables = std::function<const char*(const char*)>;

int whole_number(const Variables& variable, const char* name, int otherwise = -1) {
  const char* text = variable(name);
  if (!text && otherwise >= 0) return otherwise;
  char* end = nullptr;
  const long v = text ? std::strtol(text, &end, 10) : -1;
  KRAIT_INPUT(text && *text && *end == 0 && v >= 0 && v < 1 << 20, name, " is '", text ? text : "",
              "', which is not a number of processes");
  return static_cast<int>(v);
}

struct Names {
  const char *launcher, *rank, *size, *local_rank;
  Placement::Way way;
};
using Way = Placement::Way;
constexpr Names known[] = {
    {"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
     Way::mpi},
    {"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", Way::tcp},
    {"mpirun", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", Way::mpi},
    {"srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", Way::tcp},
};

void choose_gpu(int local_rank) {
#if KRAIT_CUDA
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess && count > 0)
    KRAIT_CUDA_CHECK(cudaSetDevice(local_rank % count));  // srun may show each process only its own
  cudaGetLastError();
#else
  (void)local_rank;
#endif
}

}  // namespace

std::optional<Placement> placement_of(const Variables& variable) {
  for (const Names& n : known) {
    if (!variable(n.rank) || !variable(n.size)) continue;
    Placement p{.way = n.way,
                .rank = whole_number(variable, n.rank),
                .size = whole_number(variable, n.size),
                .launcher = n.launcher};
    p.local_rank = whole_number(variable, n.local_rank, p.rank);
    KRAIT_INPUT(p.rank < p.size, n.rank, " is ", p.rank, " and ", n.size, " is ", p.size);
    // srun brings MPI's processes together if it is told to (--mpi=pmix).
    if (p.way == Way::tcp && n.launcher == std::string("srun")) {
      if (variable("PMIX_RANK")) p.way = Way::mpi;
      if (p.size == 1) return {};
    }
    return p;
  }
  return {};
}

std::unique_ptr<Ranks> start_ranks() {
  const auto variable = [](const char* name) { return std::getenv(name); };
  const auto p = placement_of(variable);
  if (!p) return std::make_unique<Ranks>();
  choose_gpu(p->local_rank);
  const DeviceSum device_sum = has_nccl() ? DeviceSum(nccl_sum) : DeviceSum();
  if (p->way == Way::mpi && has_mpi()) return mpi_ranks(p->size, p->local_rank, device_sum);
  const char* address = variable("MASTER_ADDR");
  KRAIT_INPUT(address || p->size == 1, p->launcher, " started ", p->size, " processes, and ",
              p->way == Way::mpi ? "this build has no MPI (cmake -DKRAIT_MPI=ON); without it " : "",
              "MASTER_ADDR and MASTER_PORT must say where rank 0 is");
  int port = whole_number(variable, "MASTER_PORT", 29500);
  if (variable("TORCHELASTIC_RUN_ID")) ++port;
  return socket_ranks(p->rank, p->size, p->local_rank, address ? address : "localhost", port,
                      device_sum);
}

}  // namespace krait
