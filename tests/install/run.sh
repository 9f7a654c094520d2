#!/usr/bin/env bash
# Installs a build into a temporary folder, builds the example project beside it against what was
# installed, and classifies pictures from C, from Python and with the program: all must agree.
# Ends with "N passed, N failed, N skipped".
#   tests/install/run.sh [BUILD_FOLDER]    default: build
# shellcheck disable=SC2317  # functions that check() calls
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$(cd "${1:-$root/build}" && pwd)
export OMP_WAIT_POLICY=passive
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0
# check WHAT COMMAND...: the command must succeed.
check() {
  local what=$1
  shift
  if "$@" >"$work/log" 2>&1; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "FAILED: $what"
    cat "$work/log"
  fi
}
# same FILE FILE: both have the same lines.
same() { diff "$work/$1" "$work/$2"; }
result() {
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" -eq 0 ]
  exit
}

check "cmake --install" cmake --install "$build" --prefix "$work/prefix"
[ $failed -eq 0 ] || result
library=$(find "$work/prefix" -name libkrait.so)
only_krait() { ! nm -D --defined-only "$library" | awk '{ print $3 }' | grep -v '^krait_[a-z_]*$'; }
check "libkrait shows krait_* and nothing else" only_krait

mkdir "$work/example"
cp "$root"/tests/install/{CMakeLists.txt,classify_picture.c} "$work/example"
check "find_package(krait) in a project of its own" \
  cmake -S "$work/example" -B "$work/example/build" -DCMAKE_PREFIX_PATH="$work/prefix"
check "the example builds" cmake --build "$work/example/build"
[ $failed -eq 0 ] || result

# A model: one step on drawn pictures will do.
check "train_cifar trains a model" "$work/prefix/bin/train_cifar" --data-set SYNTHETIC --device cpu \
  --model vim_micro_patch4_32 --depth 2 --embed-dim 16 --patch-size 8 --batch-size 1000 --epochs 1 \
  --warmup-epochs 0 --lr 4e-2 --output_dir "$work/model"
model=$work/model/checkpoint.safetensors
# Pictures: BMP files of 24 x 20 pixels, an even colour each, and one that is cut off.
picture() {
  printf 'BM\xd6\x05\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x18\0\0\0\x14\0\0\0\x01\0\x18\0'
  head -c 24 /dev/zero
  head -c 1440 /dev/zero | tr '\0' "$1"
}
for colour in 20 110 230; do picture "\\$(printf %o $colour)" >"$work/$colour.bmp"; done
head -c 500 "$work/20.bmp" >"$work/broken.bmp"
pictures=("$work"/{20,110,230}.bmp)

check "classify" "$work/prefix/bin/classify" "$model" --top 1 "${pictures[@]}"
cp "$work/log" "$work/program.txt"
check "the example in C" "$work/example/build/classify_picture" "$model" "${pictures[@]}"
cp "$work/log" "$work/c.txt"
check "C and the program agree" same program.txt c.txt
check "three pictures, three answers" test "$(grep -c ': [a-z_]* [01]\.[0-9]*$' "$work/c.txt")" = 3
broken() { [ "$("$work/example/build/classify_picture" "$model" "$work/broken.bmp" 2>&1)" = "$work/broken.bmp is cut off" ]; }
check "a broken picture is named" broken
if command -v python3 >/dev/null; then
  export KRAIT_LIBRARY=$library
  check "ctypes" python3 "$root/tests/install/krait.py" "$model" "${pictures[@]}"
  cp "$work/log" "$work/python.txt"
  check "Python and the program agree" same program.txt python.txt
  # The same pixels out of memory, and from four threads at once: bit for bit the same there. One
  # by one or three in a batch may differ by a rounding on a GPU (0.02 in bf16).
  check "ctypes: pixels, threads" env PYTHONPATH="$root/tests/install" PYTHONDONTWRITEBYTECODE=1 \
    python3 -c '
import sys, threading, krait
model = krait.Model(sys.argv[1])
pixels = b"".join(bytes([c]) * 1440 for c in (20, 110, 230))
one_by_one = [model.classify(p) for p in sys.argv[2:]]
assert len(set(map(tuple, one_by_one))) == 3, "three different answers"
expected = model.classify_pixels(pixels, 20, 24)
for a, b in zip(one_by_one, expected, strict=True):
    assert max(abs(x - y) for x, y in zip(a, b, strict=True)) < 0.02, (a, b)
right = []
def work():
    right.append(all(model.classify_pixels(pixels, 20, 24) == expected for _ in range(5)))
threads = [threading.Thread(target=work) for _ in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
assert right == [True] * 4, right
' "$model" "${pictures[@]}"
else
  echo "python3 is not installed: skipped"
  skipped=$((skipped + 1))
fi
result
