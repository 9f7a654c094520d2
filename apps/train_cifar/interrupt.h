// Ctrl-C and the signals of schedulers ask the training to finish its step and save. Another Ctrl-C
// leaves at once. Slurm sends SIGTERM before it takes a job's machine away (its GraceTime later),
// and what `sbatch --signal=USR1@120` says so many seconds before the job's time is over.
#pragma once

namespace krait {

// SIGINT, SIGTERM, SIGUSR1, SIGUSR2. `speak`: the first one is answered by a line on stderr; one
// rank of several does.
void watch_for_interrupt(bool speak);
bool interrupt_asked();

}  // namespace krait
