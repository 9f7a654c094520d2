# What run.sh and gpu.sh share; they source it. Counts checks, and compares what trainings leave in $work/NAME.
# shellcheck shell=bash
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0

finish() {
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" -eq 0 ]
  exit
}
check() { # check WHAT COMMAND...
  if "${@:2}"; then
    passed=$((passed + 1))
    echo "ok: $1 (at $SECONDS s)"
  else
    failed=$((failed + 1))
    echo "FAILED: $1"
  fi
}

# The numbers of a name in log.txt, one for each epoch: numbers NAME train_loss
numbers() { sed -n "s/.*\"$2\":\([^,}]*\).*/\1/p" "$work/$1/log.txt"; }
# The tensors of a checkpoint, without the header: that says how long it took.
tensors() {
  local file=$work/$1/checkpoint.safetensors
  tail -c +$((9 + $(od -An -t u8 -N 8 "$file"))) "$file"
}
same_bits() { [ -s "$work/$1/checkpoint.safetensors" ] && cmp -s <(tensors "$1") <(tensors "$2"); }
# same_losses A B COUNT MOST: so many, the last ones of both, none further apart than MOST.
same_losses() {
  paste <(numbers "$1" train_loss | tail -n "$3") <(numbers "$2" train_loss | tail -n "$3") |
    awk -v count="$3" -v limit="$4" '
    NF == 2 { d = $1 - $2; if (d < 0) d = -d; if (d > most) most = d; ++n }
    END { printf "   %d losses, at most %.1e apart\n", n, most; exit !(n == count && most <= limit) }'
}
# ended SECONDS PID...: all of them, in time.
ended() {
  local until=$((SECONDS + $1)) pid
  shift
  for pid in "$@"; do
    while kill -0 "$pid" 2>/dev/null; do
      [ "$SECONDS" -lt "$until" ] || return 1
      sleep 0.2
    done
  done
}
until_written() { # until_written FILE: at most a minute
  local until=$((SECONDS + 60))
  while ! [ -s "$1" ] && [ "$SECONDS" -lt "$until" ]; do sleep 0.1; done
  [ -s "$1" ]
}
