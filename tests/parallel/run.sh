#!/usr/bin/env bash
# Trains in several processes under mpirun, and as torchrun would start them, and compares with one process: the
# losses of 50 steps, the bits from run to run, going on with another number of ranks, and what happens when a rank
# is killed. Ends with "N passed, N failed, N skipped".
#   tests/parallel/run.sh BUILD_FOLDER
# shellcheck disable=SC2317  # functions that check() calls
set -euo pipefail
program=${1:?usage: tests/parallel/run.sh BUILD_FOLDER}/bin/train_cifar
# shellcheck source=tests/parallel/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

# 48 pictures and batches of 32: each epoch is one step, so log.txt has the loss of every step.
options=(--model vim_micro_patch4_32 --depth 2 --embed-dim 16 --patch-size 8 --data-set SYNTHETIC
  --train-fraction 0.0048 --eval-every 25 --print-every 1000 --device cpu --mixup 0.8 --cutmix 1
  --drop-path 0.1 --drop 0.05 --reprob 0.25 --model-ema --lr 4e-2 --bucket-mb 0.004)
# train RANKS NAME MORE...: ranks 0: without mpirun.
train() {
  local ranks=$1 name=$2
  local command=("$program" "${options[@]}" --output_dir "$work/$name" --epochs 50 "${@:3}")
  if [ "$ranks" -eq 0 ]; then
    "${command[@]}" --batch-size 32
  else
    timeout 120 mpirun -q --oversubscribe --allow-run-as-root --bind-to none -n "$ranks" \
      "${command[@]}" --batch-size $((32 / ranks))
  fi >"$work/$name.out" 2>&1
}
same_test() {
  [ "$(numbers "$1" test_acc1 | wc -l)" -eq 2 ] && cmp -s <(numbers "$1" test_acc1) <(numbers "$2" test_acc1)
}
one_writer() {
  [ "$(grep -c '^epoch 50/50' "$work/$1.out")" -eq 1 ] && [ "$(numbers "$1" train_loss | wc -l)" -eq 50 ]
}
children_of() { cat "/proc/$1/task/$1/children" 2>/dev/null || true; }

train 0 one
check "one process" one_writer one

# ---- as torchrun starts them: no MPI
start_two() { # start_two NAME MORE...: leaves the two process numbers in `pids`
  pids=()
  local rank
  for rank in 0 1; do
    RANK=$rank WORLD_SIZE=2 LOCAL_RANK=$rank MASTER_ADDR=127.0.0.1 MASTER_PORT=$port "$program" "${options[@]}" \
      --output_dir "$work/$1" --batch-size 16 "${@:2}" >"$work/$1.$rank" 2>&1 &
    pids+=($!)
  done
}
port=$((20000 + $$ % 10000))
start_two tcp --epochs 50
wait "${pids[@]}" || true
cat "$work"/tcp.[01] >"$work/tcp.out"
check "two processes through TCP: the losses of one" same_losses one tcp 50 1e-5
check "through TCP: rank 0 alone speaks and writes" one_writer tcp

port=$((port + 1))
start_two tcp_lost --epochs 100000
lost_tcp() {
  until_written "$work/tcp_lost/checkpoint.safetensors" && kill -9 "${pids[1]}" && ended 30 "${pids[@]}" &&
    [ "$(cat "$work"/tcp_lost.[01] | grep -c 'lost')" -eq 1 ]
}
check "through TCP: a killed rank ends the other within 30 s, with one line" lost_tcp
kill -9 "${pids[@]}" 2>/dev/null || true
wait "${pids[@]}" 2>/dev/null || true
grep -h lost "$work"/tcp_lost.[01] | sed 's/^/   /' || true

# ---- under mpirun
if ! command -v mpirun >/dev/null; then
  echo "no mpirun here: skipped"
  skipped=12
  finish
fi
for ranks in 1 2 4; do train "$ranks" "mpi$ranks" || true; done
check "mpirun -n 1: the bits of one process" same_bits one mpi1
for ranks in 2 4; do
  check "mpirun -n $ranks: the losses of one process" same_losses one "mpi$ranks" 50 1e-5
  check "mpirun -n $ranks: the test accuracy of one process" same_test one "mpi$ranks"
  check "mpirun -n $ranks: rank 0 alone speaks and writes" one_writer "mpi$ranks"
  train "$ranks" "again$ranks" || true
  check "mpirun -n $ranks: the same bits again" same_bits "mpi$ranks" "again$ranks"
done

# A rank of four is killed in the middle; two go on from the last checkpoint.
mpirun --oversubscribe --allow-run-as-root --bind-to none -n 4 "$program" "${options[@]}" \
  --output_dir "$work/killed" --epochs 50 --batch-size 8 >"$work/killed.out" 2>&1 &
launcher=$!
lost_mpi() {
  until_written "$work/killed/checkpoint.safetensors" || return 1
  read -ra ranks <<<"$(children_of "$launcher")"
  [ "${#ranks[@]}" -ge 4 ] && kill -9 "${ranks[2]}" && ended 30 "$launcher" "${ranks[@]}" &&
    [ "$(grep -c 'exited on signal 9' "$work/killed.out")" -eq 1 ]
}
check "mpirun: a killed rank ends all within 30 s, with one line of mpirun's" lost_mpi
kill -9 "$launcher" 2>/dev/null || true
wait "$launcher" 2>/dev/null || true
resume() {
  train 2 resumed --resume "$work/killed/checkpoint.safetensors" || return 1
  local left
  left=$(numbers resumed train_loss | wc -l)
  [ "$left" -gt 0 ] && [ "$left" -lt 50 ] && same_losses mpi4 resumed "$left" 1e-5
}
check "the training of four ranks goes on with two" resume

wrong_option() {
  local status=0
  train 2 wrong --depht 3 || status=$?
  [ "$status" -eq 2 ] && [ "$(grep -c 'there is no option --depht' "$work/wrong.out")" -eq 1 ]
}
check "a mistake in the options is said once, with exit code 2" wrong_option
finish
