#!/usr/bin/env bash
# An example for Slurm: a training on 2 machines with 8 GPUs each, one process for each GPU.
#   sbatch tools/launch_slurm.sh --data-path .data --output_dir output/big --batch-size 512    (options of train_cifar)
# It goes on from the checkpoint of its --output_dir where there is one, so it can be submitted again, and Slurm may
# put it back into the queue. Two minutes before its time is over, every process is told to save and leave.
# KRAIT_BUILD: the build folder.
#SBATCH --job-name=krait
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=02:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

# Where rank 0 is. Used unless srun brings the processes together by PMIx and the build has MPI.
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export MASTER_ADDR MASTER_PORT
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}

options=("$@")
for ((i = 0; i + 1 < ${#options[@]}; ++i)); do
  case ${options[i]} in
    --output_dir | --output-dir)
      checkpoint=${options[i + 1]}/checkpoint.safetensors
      if [ -f "$checkpoint" ]; then options+=(--resume "$checkpoint"); fi
      ;;
  esac
done

# One process that ends with an error ends all.
exec srun --kill-on-bad-exit=1 "${KRAIT_BUILD:-build}/bin/train_cifar" "${options[@]}"
