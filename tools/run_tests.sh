#!/usr/bin/env bash
# Sets up, builds everything and runs every test. Ends with "N passed, N failed, N skipped".
#   tools/run_tests.sh [CMAKE ARGUMENTS]    for example -DKRAIT_CUDA=OFF -DKRAIT_SANITIZE=address
# KRAIT_BUILD: the build folder. KRAIT_CMAKE_ARGS: more arguments for CMake. KRAIT_LEAVE_OUT: tests that are not
# run, as doctest's --test-case-exclude takes them.
set -euo pipefail
# shellcheck source=tools/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

read -ra extra <<<"${KRAIT_CMAKE_ARGS:-}"
arguments=("${extra[@]}" "$@")
# shellcheck disable=SC2119  # no further packages
install_needed
if [[ " ${arguments[*]} " == *" -DKRAIT_CUDA=ON "* ]]; then
  find_nvcc || true
  device=cuda
elif [[ " ${arguments[*]} " == *" -DKRAIT_CUDA=OFF "* ]]; then
  device=cpu
else
  choose_device
  arguments+=("-DKRAIT_CUDA=$([ "$device" = cuda ] && echo ON || echo OFF)")
fi
# With arguments of its own it does not touch the folder that quickstart.sh uses.
default=$root/build/quick-$device
[ $# -eq 0 ] && [ ${#extra[@]} -eq 0 ] || default=$root/build/tests
folder=${KRAIT_BUILD:-$default}

if ! build "$folder" all -DCMAKE_BUILD_TYPE=Release "${arguments[@]}"; then
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
fi
say "Testing"
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}  # spinning threads would slow other programs down
log=$folder/tests.log
status=0
"$folder/bin/tests" --no-colors=true --test-case-exclude="${KRAIT_LEAVE_OUT:-}" 2>&1 | tee "$log" || status=$?

# [doctest] test cases:    11 |    11 passed | 0 failed | 0 skipped
number_before() { sed -n "s/^\[doctest\] test cases:.*[^0-9]\([0-9][0-9]*\) $1.*/\1/p" "$log" | tail -n 1; }
passed=$(number_before passed)
failed=$(number_before failed)
skipped=$(number_before skipped)
# "7 GPU checks skipped: no GPU here", or without a number: one.
gpu_skipped=$(sed -n '/skipped: no GPU here/ { s/.*[^0-9]\([0-9][0-9]*\) GPU check.*/\1/; s/.*MESSAGE.*/1/; p; }' \
  "$log" | awk '{ n += $1 } END { print n + 0 }')
: "${passed:=0}" "${failed:=0}" "${skipped:=0}"
if [ $status -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi  # it crashed, or a sanitizer spoke
echo "$passed passed, $failed failed, $((skipped + gpu_skipped)) skipped"
[ "$failed" -eq 0 ]
