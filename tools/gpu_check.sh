#!/usr/bin/env bash
# What a machine without a GPU cannot check: every CUDA row against its reference, the golden bundles
# on the GPU in float32 and bf16, the tests that need a GPU, a timed step, NCCL, tensors of more than 2^31 elements (those
# that fit), and compute-sanitizer on the small cases and on a whole small training.
#   tools/gpu_check.sh [BUILD_FOLDER]      (default build/gpu-check; reuses what is built)
# SANITIZE=0 leaves compute-sanitizer out.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
build=${1:-build/gpu-check}
failed=0
step() {  # step NAME COMMAND...: runs it, says how it ended and how long it took
  local name=$1 start=$SECONDS
  shift
  if "$@" >"$build/$name.log" 2>&1; then
    echo "ok    $name ($((SECONDS - start)) s): $(tail -n 1 "$build/$name.log")"
  else
    echo "FAIL  $name ($((SECONDS - start)) s)"
    grep -E 'FAIL|ERROR|error|failed|Error' "$build/$name.log" | head -n 40
    tail -n 5 "$build/$name.log"
    failed=$((failed + 1))
  fi
}

mkdir -p "$build"
step configure cmake -S . -B "$build" -G Ninja -DKRAIT_CUDA=ON
step build cmake --build "$build"
step verify "$build/bin/kernel_lab" verify --device cuda
step parity_fp32 "$build/bin/parity" tests/golden --device cuda
step parity_bf16 "$build/bin/parity" tests/golden --device cuda --precision bf16
step tests "$build/bin/tests"
step steps "$build/bin/kernel_lab" step --model vim_micro_patch4_32 --batch 9 --device cuda
step huge "$build/bin/kernel_lab" verify --huge --device cuda
# Eight steps, of which the fourth is recorded and the others replayed; evaluations; checkpoints.
# shellcheck disable=SC2054  # a list of classes
training=("$build/bin/train_cifar" --device cuda --model vim_micro_patch4_32 --data-set SYNTHETIC
  --classes square,ring --train-fraction 0.2 --batch-size 100 --epochs 2 --model-ema --drop-path 0.1
  --mixup 0.8 --output_dir "$build/training")
step training "${training[@]}"
step nccl tests/parallel/gpu.sh "$build"
if [ "${SANITIZE:-1}" = 1 ] && command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    step "$tool" compute-sanitizer --tool "$tool" --error-exitcode 1 \
      "$build/bin/kernel_lab" verify --device cuda
  done
  for tool in memcheck racecheck; do
    step "training_$tool" compute-sanitizer --tool "$tool" --error-exitcode 1 "${training[@]}"
  done
  # With our own products: it does not see what those of cuBLASLt write, and so calls that uninitialised.
  step training_initcheck compute-sanitizer --tool initcheck --error-exitcode 1 "${training[@]}" \
    --kernel matmul=tiles --kernel patch_embed_fwd=gather_matmul --kernel patch_embed_bwd=gather_matmul
fi
[ "$failed" = 0 ] && echo "all GPU checks passed" || echo "$failed GPU checks failed"
exit "$failed"
