#!/usr/bin/env bash
# Trains for some minutes and looks at the memory of the process every few seconds, and at that of the GPU: after two
# epochs neither may grow by a byte. (With --output_dir it grows by some KB an epoch: the history in the report.)
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
"$build/bin/train_cifar" --max-minutes "$minutes" "$@" >"$work/out" 2>"$work/err" &
child=$!
trap 'kill $child 2>/dev/null || true; rm -rf "$work"' EXIT
# Of the process in bytes, and of the GPU in MiB as the driver says it; 0 where there is none.
host_bytes() { awk -v page="$(getconf PAGESIZE)" '{ print $2 * page }' "/proc/$child/statm" 2>/dev/null; }
gpu_mib() {
  { nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader,nounits 2>/dev/null || true; } |
    awk -F', ' -v pid=$child '$1 == pid { n += $2 } END { print n + 0 }'
}
first='' last='' samples=0
while kill -0 $child 2>/dev/null; do
  epochs=$(grep -c 'train loss' "$work/out" || true)
  if [ "$epochs" -ge 2 ]; then
    now="$(host_bytes || true) bytes, $(gpu_mib) MiB on the GPU"
    kill -0 $child 2>/dev/null || break  # what was read may be of a process that ends
    if grep -q 'minutes are over\|Max accuracy' "$work/out"; then break; fi
    samples=$((samples + 1))
    [ "$now" = "$last" ] || echo "after $epochs epochs: $now"
    last=$now
    : "${first:=$now}"
  fi
  sleep 2
done
status=0
wait $child || status=$?
trap 'rm -rf "$work"' EXIT
tail -n 1 "$work/out"
cat "$work/err"
echo "$(grep -c 'train loss' "$work/out" || true) epochs, looked at $samples times"
if [ $status -eq 0 ] && [ "$samples" -gt 1 ] && [ "$first" = "$last" ]; then
  echo "1 passed, 0 failed, 0 skipped"
else
  echo "exit code $status; first $first, last $last"
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
fi
