// Ctrl-C and the signals of schedulers ask the training to finish its step and save. Another Ctrl-C
// leaves at once. Slurm sends SIGTERM before it takes a job's machine away (its GraceTime later),
// and what `sbatch --signal=USR1@120` says so many seconds before the job's time is over.
#pragma once

namespace krait {

void watch_for_interrupt();  // SIGINT, SIGTERM, SIGUSR1, SIGUSR2
bool interrupt_asked();

}  // namespace krait
