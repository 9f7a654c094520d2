#!/usr/bin/env bash
# Builds the fuzzers with clang and runs each for SECONDS. Exit code 1 if one found something; the
# input that shows it is then in build/fuzz/found/.
#   tests/fuzz/run.sh SECONDS [TARGET...]        targets: pth pickle safetensors tar cifar image
# KRAIT_BUILD: the build folder. New inputs stay in its corpus folder; tests/fuzz/corpus is only read.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
folder=${KRAIT_BUILD:-$root/build/fuzz}
[[ ${1:-} =~ ^[0-9]+$ ]] || { sed -n '2,5s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2; }
seconds=$1
shift
targets=("$@")
[ $# -gt 0 ] || targets=(pth pickle safetensors tar cifar image)

mkdir -p "$folder"
cmake -S "$root" -B "$folder" -DKRAIT_FUZZ=ON -DKRAIT_CUDA=OFF -DCMAKE_CXX_COMPILER=clang++ >"$folder/cmake.log" 2>&1 ||
  { cat "$folder/cmake.log" >&2; exit 2; }
cmake --build "$folder" --parallel
mkdir -p "$folder/found"
status=0
for target in "${targets[@]}"; do
  mkdir -p "$folder/corpus/$target"
  # A reader may take ten seconds and 2 GB for one input, no more.
  "$folder/tests/fuzz/fuzz_$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=8192 \
    -artifact_prefix="$folder/found/$target-" -print_final_stats=1 -verbosity=0 \
    "$folder/corpus/$target" "$root/tests/fuzz/corpus/$target" 2>&1 | sed "s/^/$target: /" || status=1
done
exit $status
