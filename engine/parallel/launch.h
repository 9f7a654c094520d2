// How this process was started: alone, or as one of several by mpirun, srun, torchrun or a script
// that sets the same variables. A library of its own (with MPI and NCCL where they are built), for
// programs that train.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "engine/parallel/ranks.h"

namespace krait {

struct Placement {
  enum class Way { mpi, tcp };
  Way way = Way::mpi;
  int rank = 0, size = 1, local_rank = 0;
  std::string launcher;  // "mpirun", "torchrun", "srun"
};

// From the variables of the environment, the first set that is whole: OMPI_COMM_WORLD_* (mpirun),
// PMI_* (MPICH's mpirun), RANK, WORLD_SIZE and LOCAL_RANK (torchrun), SLURM_* of a step (srun).
// None: one process on its own. InputError: a variable that is no number, or a rank out of range.
std::optional<Placement> placement_of(const std::function<const char*(const char*)>& variable);

// Meets the other processes, and chooses this one's GPU by its local rank. Through MPI, or through
// TCP at MASTER_ADDR and MASTER_PORT (under torchrun, which listens there itself, the port after
// it). InputError if that is not possible, or if this build has no MPI and there is no MASTER_ADDR.
std::unique_ptr<Ranks> start_ranks();

}  // namespace krait
