#!/usr/bin/env bash
# Trains for some minutes and looks at memory: the fewest bytes that were allocated in each epoch (heap.cpp) and, every
# few seconds, what the GPU's driver says. From the second epoch on neither may grow by a byte. The memory that the
# process has in all may grow by 1 MiB: it grows by a page when pages are used that were asked for earlier. (With
# --output_dir 950 bytes an epoch are allocated, the history that the report draws.)
# Prints what it sees and ends with "N passed, N failed, N skipped".
#   tests/faults/memory.sh BUILD_FOLDER MINUTES [OPTIONS OF train_cifar]
# for example   tests/faults/memory.sh build 10 --data-path .data --epochs 1000
#               tests/faults/memory.sh build 1 --data-set SYNTHETIC --model vim_micro_patch4_32 --patch-size 16 \
#                 --train-fraction 0.1 --batch-size 20 --epochs 100000 --device cpu
set -euo pipefail
build=$1 minutes=$2
shift 2
export OMP_WAIT_POLICY=passive
work=$(mktemp -d)
: >"$work/err"
LD_PRELOAD="$(realpath "$build/lib/libheap.so")" \
  "$build/bin/train_cifar" --max-minutes "$minutes" "$@" >"$work/out" 2>"$work/err" &
child=$!
trap 'kill $child 2>/dev/null || true; rm -rf "$work"' EXIT
# Of the process in bytes, and of the GPU in MiB as the driver says it; 0 where there is none.
host_bytes() { awk -v page="$(getconf PAGESIZE)" '{ print $2 * page }' "/proc/$child/statm" 2>/dev/null; }
gpu_mib() {
  { nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader,nounits 2>/dev/null || true; } |
    awk -F', ' -v pid=$child '$1 == pid { n += $2 } END { print n + 0 }'
}
allocated() { sed -n 's/^allocated //p' "$work/err"; }
first_gpu='' last_gpu='' first='' last='' samples=0
while kill -0 $child 2>/dev/null; do
  epochs=$(allocated | wc -l)
  if [ "$epochs" -ge 2 ]; then
    host=$(host_bytes || true) gpu=$(gpu_mib)
    kill -0 $child 2>/dev/null || break  # what was read may be of a process that ends
    if grep -q 'minutes are over\|Max accuracy' "$work/out"; then break; fi
    samples=$((samples + 1))
    [ "$host $gpu" = "$last $last_gpu" ] ||
      echo "after $epochs epochs: $host bytes of the process, $gpu MiB on the GPU"
    last=$host last_gpu=$gpu
    : "${first:=$host}" "${first_gpu:=$gpu}"
  fi
  sleep 2
done
status=0
wait $child || status=$?
trap 'rm -rf "$work"' EXIT
tail -n 1 "$work/out"
grep -v '^allocated ' "$work/err" || true
# Where the bytes change, the first few times.
allocated | awk '$1 != last && n++ < 20 { printf "allocated from epoch %d on: %s bytes\n", NR, $1 } { last = $1 }'
second=$(allocated | sed -n 2p) most=$(allocated | sed 1d | sort -n | tail -n 1)
echo "$(allocated | wc -l) epochs, looked at $samples times; allocated in the second $second bytes, later at most $most"
if [ $status -eq 0 ] && [ "$samples" -gt 1 ] && [ -n "$second" ] && [ "$most" -eq "$second" ] &&
  [ $((last - first)) -le $((1 << 20)) ] && [ "$first_gpu" = "$last_gpu" ]; then
  echo "1 passed, 0 failed, 0 skipped"
else
  echo "exit code $status; of the process $first to $last bytes, on the GPU $first_gpu to $last_gpu MiB"
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
fi
