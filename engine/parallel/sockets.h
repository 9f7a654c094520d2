// Ranks that talk through TCP, in a star around rank 0: for processes that torchrun or a script
// started, and for a build without MPI. GPUs use it to start up and for a few bytes a step; on CPUs
// it adds the gradients up too, which is slower than MPI.
#pragma once

#include <memory>
#include <string>

#include "engine/parallel/ranks.h"

namespace krait {

// Rank 0 listens at `port`, the others look for it at `address` (its name or IP address), all for
// at most `seconds`. InputError: who did not come, or why it cannot listen. If a process dies
// later, the others say so in one line and end within 30 s, wherever they are.
std::unique_ptr<Ranks> socket_ranks(int rank, int size, int local_rank, const std::string& address,
                                    int port, DeviceSum device_sum = {}, double seconds = 120);

}  // namespace krait
