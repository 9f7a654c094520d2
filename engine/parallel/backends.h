// What launch.cpp chooses from. Each is there in every build; without its library it says so.
#pragma once

#include <memory>

#include "engine/parallel/ranks.h"

namespace krait {

// MPI_COMM_WORLD. InputError if MPI counts other than `size` processes. Not more than once.
bool has_mpi();
std::unique_ptr<Ranks> mpi_ranks(int size, int local_rank, DeviceSum device_sum);

// Adds up on a stream of its own beside the context's, which can be recorded in a graph.
bool has_nccl();
std::unique_ptr<Sum> nccl_sum(Context& ctx, Ranks& ranks);

}  // namespace krait
