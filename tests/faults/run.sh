#!/usr/bin/env bash
# Makes everything go wrong that can, in small trainings on the CPU, and looks at what becomes of them: each must end
# in the promised line, lose no good checkpoint, and give the bits of the training that was left alone once it is
# resumed. Prints a line for each fault and ends with "N passed, N failed, N skipped".
#   tests/faults/run.sh [--kills N] [--seed N] [BUILD_FOLDER]
# --kills: so many trainings are killed (default 5; 100 take some minutes), and so many allocations fail.
# As root it also fills a small file system (tmpfs) and takes away the right to write; else these are skipped.
# shellcheck disable=SC2317  # functions that check() calls
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
kills=5 seed=1 build=$root/build
while [ $# -gt 0 ]; do
  case $1 in
    --kills) kills=$2 && shift 2 ;;
    --seed) seed=$2 && shift 2 ;;
    -*) echo "run.sh: unknown option $1" >&2 && exit 2 ;;
    *) build=$1 && shift ;;
  esac
done
build=$(cd "$build" && pwd)
export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
RANDOM=$seed
work=$(mktemp -d)
full=$work/full    # where the small file system is
child=0            # a training in the background
clean() {
  if [ $child -ne 0 ]; then kill -9 $child 2>/dev/null || true; fi
  if mountpoint -q "$full"; then umount "$full"; fi
  rm -rf "$work"
}
trap clean EXIT
chmod 755 "$work"  # for a user without rights
cp "$build/bin/train_cifar" "$work/train_cifar"
fault=$build/lib/libfault.so
passed=0 failed=0 skipped=0

# check WHAT COMMAND...: the command must succeed. What it prints is shown if it does not.
check() {
  local what=$1
  shift
  if "$@" >"$work/log" 2>&1; then
    passed=$((passed + 1))
    echo "ok      $what"
  else
    failed=$((failed + 1))
    echo "FAILED  $what"
    sed 's/^/          /' "$work/log"
  fi
}
skip() {
  skipped=$((skipped + 1))
  echo "skipped $1"
}

# ---- a training: 8 epochs of 10 steps, a second or two

# train FOLDER ARGUMENTS...: its output goes to $work/out and $work/err.
# shellcheck disable=SC2054  # a list of classes
options=(--model vim_micro_patch4_32 --patch-size 16 --depth 1 --embed-dim 32 --data-set SYNTHETIC
  --classes square,ring --train-fraction 0.1 --batch-size 20 --epochs 8 --lr 1e-2 --model-ema --drop-path 0.1
  --device cpu)
train() {
  local folder=$1
  shift
  "$work/train_cifar" "${options[@]}" --output_dir "$folder" "$@" >"$work/out" 2>"$work/err"
}
resume() {
  local folder=$1
  shift
  train "$folder" --resume "$folder/checkpoint.safetensors" "$@"
}
# Goes on from what is there: a checkpoint, or else from the start.
go_on() {
  if [ -e "$1/checkpoint.safetensors" ]; then resume "$1"; else train "$1"; fi
}
# start FOLDER ARGUMENTS...: in the background, as $child. What is in $with goes before it.
with=()
start() {
  local folder=$1
  shift
  env "${with[@]}" "$work/train_cifar" "${options[@]}" --output_dir "$folder" "$@" >"$work/out" 2>"$work/err" &
  child=$!
}
# start_and_stop FOLDER FILE: the same, and it stands still from when the file is there.
start_and_stop() {
  start "$1"
  while kill -0 $child 2>/dev/null && [ ! -e "$1/$2.safetensors" ]; do :; done
  kill -STOP $child
}
# The exit code of $child, as $code; it goes on first.
finish() {
  code=0
  kill -CONT $child 2>/dev/null || true
  { wait $child || code=$?; } 2>/dev/null
  child=0
}
# end_in CODE PATTERN COMMAND...: the command must end with that code and one line on stderr that matches.
end_in() {
  local code=$1 pattern=$2 status=0
  shift 2
  "$@" || status=$?
  cat "$work/err"
  [ $status -eq "$code" ] || { echo "exit code $status, not $code" && return 1; }
  [ "$(wc -l <"$work/err")" -eq 1 ] || { echo "not one line" && return 1; }
  grep -qE -- "$pattern" "$work/err" || { echo "no line like: $pattern" && return 1; }
}

# ---- what a checkpoint holds, apart from times, and from the options (which name folders)

header_bytes() { od -An -t u8 -N 8 "$1" | tr -d ' '; }
state() {
  local n
  n=$(header_bytes "$1")
  head -c $((8 + n)) "$1" | tail -c +9 | sed -E 's/"checksum":"[^"]*"//; s/"options":"(\\.|[^"\\])*"//;
    s/\\"(epoch_)?seconds\\":[-+.0-9e]*//g; s/ *$//' | sha256sum
  tail -c +$((9 + n)) "$1" | sha256sum
}
# The last line of each epoch, without times.
log_of() {
  sed -E 's/"(seconds|images_per_second|host_bytes)":[-+.0-9e]*,?//g' "$1/log.txt" |
    awk 'match($0, /"epoch":[0-9]+/) { last[substr($0, RSTART + 8) + 0] = $0 }
         END { for (e = 0; e in last; ++e) print last[e] }'
}
# same_run FOLDER: is it as if it had been left alone?
same_run() {
  local file
  for file in checkpoint best_checkpoint; do
    [ "$(state "$1/$file.safetensors")" = "$(state "$work/alone/$file.safetensors")" ] ||
      { echo "$file differs from that of the run that was left alone" && return 1; }
  done
  [ "$(log_of "$1")" = "$(log_of "$work/alone")" ] || { echo "log.txt differs" && return 1; }
  cmp "$1/predictions.csv" "$work/alone/predictions.csv"
  [ ! -e "$1/checkpoint.safetensors.tmp" ] || { echo "a temporary file is left" && return 1; }
}
# as_if_alone FOLDER: goes on, without a word on stderr, and the bits are the same.
as_if_alone() {
  go_on "$1" || { cat "$work/err" && return 1; }
  [ ! -s "$work/err" ] || { cat "$work/err" && return 1; }
  same_run "$1"
}

begin=$(date +%s%N)
train "$work/alone" || { cat "$work/err" && exit 1; }
length=$((($(date +%s%N) - begin) / 1000000))  # ms
train "$work/again"
echo "A training takes $length ms here; $kills kills, seed $seed"
check "two trainings that are left alone are bit-equal" same_run "$work/again"

# ---- kill -9

pause() { sleep "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))"; }
# Kills $child after some time, or when it writes a checkpoint for the n-th time. Says when that was.
kill_after() {
  pause "$1"
  kill -9 $child 2>/dev/null || true
}
kill_while_writing() {
  local left=$1 file=$2/checkpoint.safetensors.tmp
  while kill -0 $child 2>/dev/null; do
    if [ -e "$file" ]; then
      left=$((left - 1))
      if [ $left -eq 0 ]; then break; fi
      while [ -e "$file" ] && kill -0 $child 2>/dev/null; do :; done
    fi
  done
  kill -9 $child 2>/dev/null || true
}
# Calls with which a checkpoint is written, and how many of them a training makes.
calls=(write fsync link rename)
declare -A made
for call in "${calls[@]}"; do
  with=(LD_PRELOAD="$fault" FAULT_CALL="$call" FAULT_FILE="$work/calls" FAULT_AT=0)
  start "$work/calls"
  finish
  made[$call]=$(sed -n 's/^calls of .*: //p' "$work/err")
  rm -rf "$work/calls"
done

declare -A killed=()
killed_runs() {
  local i call left folder before=$failed good=0
  for ((i = 0; ${killed[all]:-0} < kills; ++i)); do
    folder=$work/killed
    rm -rf "$folder"
    left=$((1 + RANDOM % 2))  # so many kills for one training
    while [ $left -gt 0 ]; do
      left=$((left - 1))
      local arguments=() how
      if [ -e "$folder/checkpoint.safetensors" ]; then arguments=(--resume "$folder/checkpoint.safetensors"); fi
      with=(A=)
      case $((i % 4)) in
        0 | 1)
          how="at any time"
          start "$folder" "${arguments[@]}"
          kill_after $((RANDOM % (length * 3 / 2)))
          ;;
        2)
          how="while the temporary file was there"
          start "$folder" "${arguments[@]}"
          kill_while_writing $((1 + RANDOM % 12)) "$folder"
          ;;
        3)
          call=${calls[RANDOM % 4]}
          how="before a call of $call"
          with=(LD_PRELOAD="$fault" FAULT_CALL="$call" FAULT_FILE="$folder" FAULT_DO=kill
            FAULT_AT=$((1 + (RANDOM * 32768 + RANDOM) % made[$call])))
          start "$folder" "${arguments[@]}"
          ;;
      esac
      finish
      if [ $code -eq 137 ]; then
        killed[all]=$((${killed[all]:-0} + 1))
        killed[$how]=$((${killed[$how]:-0} + 1))
        if [ ! -e "$folder/checkpoint.safetensors" ]; then killed[early]=$((${killed[early]:-0} + 1)); fi
        if [ -e "$folder/checkpoint.safetensors.tmp" ]; then killed[tmp]=$((${killed[tmp]:-0} + 1)); fi
      fi
    done
    if as_if_alone "$folder" >"$work/why" 2>&1; then
      good=$((good + 1))
    else
      failed=$((failed + 1))
      echo "FAILED  killed $how: run $i"
      sed 's/^/          /' "$work/why"
      cp -r "$folder" "${TMPDIR:-/tmp}/krait_killed_$i"
    fi
  done
  passed=$((passed + good))
  echo "$([ "$before" -eq $failed ] && echo "ok     " || echo "FAILED ") $good of $i trainings that were killed," \
    "resumed bit-equal"
  echo "        ${killed[all]:-0} kills: ${killed[early]:-0} before the first checkpoint, ${killed[tmp]:-0} while" \
    "one was being written"
  for how in "${!killed[@]}"; do
    case $how in all | early | tmp) ;; *) echo "        ${killed[$how]} $how" ;; esac
  done
}
killed_runs

# ---- signals

signalled() {
  local signal=$1 folder=$work/signalled try
  with=(A=)
  for try in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf "$folder"
    start "$folder"
    while kill -0 $child 2>/dev/null && [ ! -e "$folder/checkpoint.safetensors" ]; do :; done
    pause $((RANDOM % 100))
    kill "-$signal" $child 2>/dev/null || true
    if [ "$signal" != INT ]; then kill "-$signal" $child 2>/dev/null || true; fi  # reminds: must not hurt
    finish
    if [ $code -ne 0 ]; then break; fi
    echo "try $try: it had ended before"
  done
  cat "$work/err"
  [ "$code" -eq 130 ] || { echo "exit code $code, not 130" && return 1; }
  grep -q "go on with --resume" "$work/out" || { tail -n 3 "$work/out" && return 1; }
  as_if_alone "$folder"
}
for signal in INT TERM USR1; do
  check "SIG$signal: saved, exit code 130, resumed bit-equal" signalled $signal
done

# ---- damaged checkpoints

# A training at the end of its 8 epochs; the files of its last two.
fresh() {
  rm -rf "$1"
  cp -r "$work/alone" "$1"
}
# flip FILE POSITION BIT
flip() {
  local byte
  byte=$(od -An -t u1 -j "$2" -N 1 "$1" | tr -d ' ')
  # shellcheck disable=SC2059  # the format is a byte
  printf "\\x$(printf %x $((byte ^ (1 << $3))))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
size_of() { stat -c %s "$1"; }
uses_previous() {
  local folder=$1 pattern=$2
  end_in 0 "^warning: .*$pattern.*; going on from .*previous_checkpoint" resume "$folder" && same_run "$folder"
}
flipped() {
  local folder=$work/flipped file at i
  for ((i = 0; i < kills; ++i)); do
    fresh "$folder"
    file=$folder/checkpoint.safetensors
    at=$((40 + (RANDOM * 32768 + RANDOM) % ($(size_of "$file") - 40)))
    if [ $i -eq 0 ]; then at=3000; fi  # the header
    flip "$file" $at $((RANDOM % 8))
    uses_previous "$folder" "checkpoint.safetensors: " || { echo "at byte $at" && return 1; }
  done
}
check "$kills times a bit of the checkpoint flipped: noticed, the previous one used, bit-equal" flipped
cut_off() {
  local folder=$work/cut i
  for i in 0 7 100 30000 -1; do
    fresh "$folder"
    truncate -s $((i < 0 ? $(size_of "$folder/checkpoint.safetensors") + i : i)) "$folder/checkpoint.safetensors"
    uses_previous "$folder" "(cut off|not a safetensors file)" || { echo "cut to $i bytes" && return 1; }
  done
}
check "the checkpoint cut off: the previous one used, bit-equal" cut_off
missing() {
  fresh "$work/missing"
  rm "$work/missing/checkpoint.safetensors"
  uses_previous "$work/missing" "No such file"
}
check "the checkpoint lost: the previous one used, bit-equal" missing
both_damaged() {
  local folder=$work/both before
  fresh "$folder"
  flip "$folder/checkpoint.safetensors" 30000 3
  flip "$folder/previous_checkpoint.safetensors" 20000 0
  before=$(sha256sum "$folder"/*.safetensors)
  end_in 2 "checkpoint.safetensors: is damaged.*; and .*previous_checkpoint.safetensors: is damaged" resume "$folder"
  [ "$(sha256sum "$folder"/*.safetensors)" = "$before" ]
}
check "both damaged: one line, exit code 2, nothing written" both_damaged
damaged_best() {
  fresh "$work/best"
  flip "$work/best/best_checkpoint.safetensors" 30000 3
  end_in 2 "is damaged: its bytes do not match its checksum" train "$work/best" --eval \
    --resume "$work/best/best_checkpoint.safetensors"
}
check "a damaged checkpoint is not evaluated: one line, exit code 2" damaged_best

# ---- disk full, errors of the disk, no right to write

# Half a training, killed before its 4th checkpoint got its name; $good is what its checkpoint holds.
make_half() {
  local folder=$1
  rm -rf "$folder"
  with=(LD_PRELOAD="$fault" FAULT_CALL=rename FAULT_FILE="/checkpoint.safetensors" FAULT_AT=4 FAULT_DO=kill)
  start "$folder"
  finish
  rm -f "$folder/checkpoint.safetensors.tmp"
  good=$(state "$folder/checkpoint.safetensors")
}
# loses_nothing FOLDER: the checkpoint is the one before, and one can go on from it.
loses_nothing() {
  [ "$(state "$1/checkpoint.safetensors")" = "$good" ] || { echo "the checkpoint is another one" && return 1; }
  as_if_alone "$1"
}
disk_error() {
  local call=$1 what=$2 folder=$work/errors
  make_half "$folder"
  with=(LD_PRELOAD="$fault" FAULT_CALL="$call" FAULT_FILE=/checkpoint.safetensors FAULT_AT=all)
  in_background() { start "$folder" --resume "$folder/checkpoint.safetensors" && finish && return "$code"; }
  end_in 2 "$what.*the checkpoint before it is whole" in_background && loses_nothing "$folder"
}
check "a write of the checkpoint fails (disk full): one line, exit code 2, nothing lost" disk_error write \
  "cannot be written: No space left on device"
check "flushing it fails: one line, exit code 2, nothing lost" disk_error fsync "cannot be written: Input/output error"
check "renaming it fails: one line, exit code 2, nothing lost" disk_error rename \
  "cannot be replaced: Input/output error"
no_links() {
  rm -rf "$work/links"
  with=(LD_PRELOAD="$fault" FAULT_CALL=link FAULT_AT=all)
  start "$work/links"
  finish
  [ $code -eq 0 ] && [ ! -s "$work/err" ] && same_run "$work/links"
}
check "a file system without hard links: as ever" no_links

disk_full() {
  make_half "$work/half"
  cp -r "$work/half" "$full/run"
  head -c 100000000 /dev/zero >"$full/rest" 2>/dev/null || true
  end_in 2 "cannot be written.*: No space left on device" resume "$full/run" || return 1
  [ "$(state "$full/run/checkpoint.safetensors")" = "$good" ] || { echo "the checkpoint is another one" && return 1; }
  end_in 2 "cannot be written.*: No space left on device" resume "$full/run" || return 1  # and again
  rm "$full/rest"
  loses_nothing "$full/run"
}
fills_up() {  # while it runs
  rm -rf "$full/run"
  with=(A=)
  start_and_stop "$full/run" previous_checkpoint
  head -c 100000000 /dev/zero >"$full/rest" 2>/dev/null || true
  finish
  cat "$work/err"
  [ $code -eq 2 ] || { echo "exit code $code, not 2" && return 1; }
  grep -q "No space left on device" "$work/err" && [ "$(wc -l <"$work/err")" -eq 1 ] || return 1
  rm "$full/rest"
  as_if_alone "$full/run"
}
read_only() {
  make_half "$work/half"
  rm -rf "$full/run"
  cp -r "$work/half" "$full/run"
  mount -o remount,ro "$full"
  end_in 2 "^train_cifar: output folder .*: cannot be written to: Read-only file system" resume "$full/run"
  mount -o remount,rw "$full"
  loses_nothing "$full/run"
}
mkdir "$full"
if mount -t tmpfs -o size=4m krait "$full" 2>/dev/null; then
  check "disk full at the start: one line, exit code 2, nothing lost" disk_full
  check "disk full while it trains: one line, exit code 2, nothing lost" fills_up
  check "file system read-only: one line, exit code 2, nothing lost" read_only
  umount "$full"
else
  skip "disk full: no right to mount a tmpfs"
  skip "disk full while it trains: the same"
  skip "file system read-only: the same"
fi

# Root may write everywhere: as nobody.
as_user=()
if [ "$(id -u)" = 0 ]; then as_user=(setpriv --reuid=65534 --regid=65534 --clear-groups); fi
right_taken() {
  local folder=$work/taken
  rm -rf "$folder"
  mkdir "$folder"
  if [ "$(id -u)" = 0 ]; then chown 65534 "$folder"; fi
  with=("${as_user[@]}")
  start_and_stop "$folder" previous_checkpoint
  chmod 555 "$folder"
  finish
  chmod 755 "$folder"
  cat "$work/err"
  [ $code -eq 2 ] || { echo "exit code $code, not 2" && return 1; }
  grep -q "cannot be written: Permission denied" "$work/err" && [ "$(wc -l <"$work/err")" -eq 1 ] || return 1
  as_if_alone "$folder"
}
if [ "$(id -u)" != 0 ] || "${as_user[@]}" "$work/train_cifar" --version >/dev/null 2>&1; then
  check "the right to write taken away while it trains: one line, exit code 2, nothing lost" right_taken
else
  skip "the right to write taken away: cannot become nobody"
fi

# ---- data, numbers, memory, and a second training

cut_data() {
  mkdir -p "$work/data"
  local i
  for i in 1 2 3 4 5; do truncate -s 30730000 "$work/data/data_batch_$i.bin"; done
  truncate -s 30730000 "$work/data/test_batch.bin"
  truncate -s 30000000 "$work/data/data_batch_3.bin"
  end_in 2 "data_batch_3.bin.* is cut off: 30000000 bytes, expected 30730000" train "$work/never" \
    --data-set CIFAR10 --classes airplane,cat --data-path "$work/data" && [ ! -e "$work/never/checkpoint.safetensors" ]
}
check "data cut off: one line, exit code 2" cut_data
rm -rf "$work/data"
not_finite() {
  make_half "$work/finite"
  end_in 1 "the loss is not finite at step [0-9]+ .*the first tensor that is not finite is .*; the last good" \
    resume "$work/finite" --lr 1000 --unscale-lr --clip-grad 0 --warmup-epochs 0 && loses_nothing "$work/finite"
}
check "a gradient that is not finite: one line, exit code 1, nothing lost" not_finite
two_runs() {
  rm -rf "$work/two"
  with=(A=)
  start_and_stop "$work/two" checkpoint
  local first=$child
  end_in 2 "another training writes to it \(process $first on " resume "$work/two" || return 1
  child=$first
  finish
  [ $code -eq 0 ] && same_run "$work/two"
}
check "two trainings in one folder: the second is refused with exit code 2, the first not disturbed" two_runs

# fail_at CALL N: that allocation fails. It ends with one line, or does not need the memory.
fail_at() {
  local folder=$work/memory
  rm -rf "$folder"
  cp -r "$work/half" "$folder"
  with=(LD_PRELOAD="$fault" FAULT_CALL="$1" FAULT_AT="$2")
  start "$folder" --resume "$folder/checkpoint.safetensors"
  finish
  if [ $code -eq 0 ]; then
    same_run "$folder" || return 1
    return
  fi
  cat "$work/err"
  [ $code -eq 1 ] || [ $code -eq 2 ] || { echo "exit code $code: $1 number $2" && return 1; }
  [ "$(wc -l <"$work/err")" -eq 1 ] || { echo "not one line: $1 number $2" && return 1; }
  grep -qiE "out of memory|bad_alloc" "$work/err" || return 1
  as_if_alone "$folder" || { echo "$1 number $2" && return 1; }
}
allocations_fail() {
  local call=$1 n i
  with=(LD_PRELOAD="$fault" FAULT_CALL="$call" FAULT_AT=0)
  rm -rf "$work/memory"
  cp -r "$work/half" "$work/memory"
  start "$work/memory" --resume "$work/memory/checkpoint.safetensors"
  finish
  n=$(sed -n 's/^calls of .*: //p' "$work/err")
  for ((i = 0; i < kills; ++i)); do
    fail_at "$call" $((i < kills / 4 ? i + 1 : 1 + (RANDOM * 32768 + RANDOM) % n)) || return 1
  done
}
for call in aligned_alloc malloc; do
  check "$kills of the allocations by $call fail, one a training: one line, nothing lost" allocations_fail $call
done

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
