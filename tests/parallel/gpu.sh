#!/usr/bin/env bash
# NCCL on one GPU, and on two where there are two: what training through it costs and changes. With one rank the bits
# are those of a training without it, at no more than 3 % of the time; NCCL launches next to nothing for one rank, so
# that shows what is around it. With two, bits are the same from run to run and kernel by kernel, the losses those of
# one process, and a killed rank ends the other. Ends with "N passed, N failed, N skipped".
#   tests/parallel/gpu.sh BUILD_FOLDER
# shellcheck disable=SC2317  # functions that check() calls
set -euo pipefail
program=${1:?usage: tests/parallel/gpu.sh BUILD_FOLDER}/bin/train_cifar
# shellcheck source=tests/parallel/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# 10000 drawn pictures.
options=(--device cuda --data-set SYNTHETIC --cutmix 1 --mixup 0.8 --drop-path 0.1 --model-ema --eval-every 100
  --print-every 1000)
# train NAME MORE...; as one rank of one if the name starts with nccl.
train() {
  local name=$1 rank=()
  [[ $name != nccl* ]] ||
    rank=(RANK=0 WORLD_SIZE=1 LOCAL_RANK=0 MASTER_ADDR=127.0.0.1 "MASTER_PORT=$((20000 + $$ % 10000))")
  env "${rank[@]}" "$program" "${options[@]}" --output_dir "$work/$name" "${@:2}" >"$work/$name.out" 2>&1 ||
    { tail -n 3 "$work/$name.out"; return 1; }
}
both() { # both NAME MORE...: with NCCL and without
  train "plain_$1" "${@:2}" && train "nccl_$1" "${@:2}" && grep -q 'NCCL' "$work/nccl_$1.out" &&
    same_bits "plain_$1" "nccl_$1"
}
# Pictures a second: the median of the epochs behind the second.
speed() {
  numbers "$1" images_per_second | sed 1,2d | sort -g |
    awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

for name in graph eager accumulate remake fp32; do
  more=(--batch-size 256 --epochs 2)
  case $name in
    eager) more+=(--eager) ;;
    accumulate) more+=(--accumulate 2) ;;
    remake) more+=(--remake on) ;;
    fp32) more+=(--precision fp32) ;;
  esac
  check "one rank through NCCL has the bits of none: $name" both "$name" "${more[@]}"
done

check "a graph with two streams has the bits of single launches on one" same_bits plain_graph plain_eager

cost() {
  local of=()
  for turn in 1 2; do # in turn: a GPU gets warm
    for way in plain nccl; do
      train "${way}_speed$turn" --batch-size 500 --epochs 8 || return 1
      of+=("$(speed "${way}_speed$turn")")
    done
  done
  awk -v a="${of[0]}" -v b="${of[1]}" -v c="${of[2]}" -v d="${of[3]}" 'BEGIN {
    plain = a > c ? a : c; nccl = b > d ? b : d
    printf "   images/s without %.0f, %.0f; through NCCL %.0f, %.0f: %.1f %% slower\n", a, c, b, d,
      100 * (plain / nccl - 1)
    exit !(nccl >= plain / 1.03) }'
}
check "it costs at most 3 %" cost

if [ "$(nvidia-smi --list-gpus | wc -l)" -lt 2 ]; then
  echo "one GPU: two ranks are skipped"
  skipped=5
  finish
fi
# start_two NAME MORE...: as torchrun does; leaves the two process numbers in `ranks`.
start_two() {
  local rank
  port=$((${port:-20000 + $$ % 10000} + 1))
  ranks=()
  for rank in 0 1; do
    RANK=$rank WORLD_SIZE=2 LOCAL_RANK=$rank MASTER_ADDR=127.0.0.1 MASTER_PORT=$port NCCL_DEBUG=WARN \
      timeout 120 "$program" "${options[@]}" --output_dir "$work/$1" --batch-size 128 "${@:2}" >"$work/$1.$rank" 2>&1 &
    ranks+=($!)
  done
}
two() { # two NAME MORE...
  start_two "$@"
  wait "${ranks[0]}" && wait "${ranks[1]}" && return
  kill "${ranks[@]}" 2>/dev/null || true
  tail -n 3 "$work/$1".[01]
  return 1
}
again() { two "$1" --epochs 2 && same_bits two "$1"; }
eager() { two two --epochs 2 --eager; }
check "two ranks, kernel by kernel" eager
check "two ranks, a graph: the same bits" again graph2
check "two ranks: the same bits again" again again2
# Rounding alone moves the losses of the second epoch by 1e-4 and more: so a third training, whose products are added up
# in another order, says how far.
alike() {
  train single --batch-size 256 --epochs 2 --precision fp32 && two pair --epochs 2 --precision fp32 &&
    train rounded --batch-size 256 --epochs 2 --precision fp32 --kernel matmul=tiles || return 1
  paste <(numbers single train_loss) <(numbers pair train_loss) <(numbers rounded train_loss) | awk '
    function apart(x) { return x < $1 ? $1 - x : x - $1 }
    { printf "   epoch %d: %.8f; two ranks %.1e apart, other products %.1e\n", NR, $1, apart($2), apart($3)
      if (NF == 3 && apart($2) <= (NR == 1 ? 1e-6 : 2 * apart($3))) ++good }
    END { exit !(NR == 2 && good == 2) }'
}
check "two ranks: the losses of one process, fp32" alike
lost() {
  start_two killed --epochs 10000
  disown "${ranks[@]}"  # or bash says in the middle of it that they were killed
  until_written "$work/killed/checkpoint.safetensors" && pkill -9 -P "${ranks[1]}" && ended 30 "${ranks[@]}"
}
check "two ranks: one is killed, the other ends within 30 s" lost
pkill -9 -P "${ranks[0]}" || true
finish
