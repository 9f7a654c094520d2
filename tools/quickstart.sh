#!/usr/bin/env bash
# From a fresh checkout to a trained Vision Mamba: installs what is missing, builds, gets CIFAR-10
# (or takes the built-in drawn pictures), trains, evaluates.
#   tools/quickstart.sh
# Variables: MODEL, EPOCHS, OUTPUT (folder of log and checkpoints), CIFAR10_DIR (data you have).
set -euo pipefail

# The recipes. A CPU sees each picture once or a few times, so nothing is done against overfitting;
# it stops after cpu_minutes, whatever the epochs.
gpu_model=vim_tiny_patch4_32   gpu_epochs=5   gpu_batch=128  gpu_lr=4e-3
cpu_model=vim_micro_patch4_32  cpu_epochs=1   cpu_batch=32   cpu_lr=4e-2  cpu_minutes=4
cpu_more=(--warmup-epochs 0.1 --crop-padding 0 --smoothing 0)
synthetic_epochs=4  # its 10000 pictures are a fifth of CIFAR-10's

# shellcheck source=tools/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
began=$SECONDS

extra=()
if ! command -v curl >/dev/null && ! command -v wget >/dev/null; then
  extra=(curl ca-certificates)  # for the download
fi
install_needed "${extra[@]}"
choose_device
folder=$root/build/quick-$device
build "$folder" train_cifar -DCMAKE_BUILD_TYPE=Release \
  "-DKRAIT_CUDA=$([ "$device" = cuda ] && echo ON || echo OFF)"
train=$folder/bin/train_cifar

has_cifar() {
  [ -f "$1/test_batch.bin" ] || [ -f "$1/cifar-10-batches-bin/test_batch.bin" ] ||
    [ -f "$1/cifar-10-binary.tar.gz" ]
}
data=(--data-set CIFAR10 --data-path)
if [ -n "${CIFAR10_DIR:-}" ]; then
  say "CIFAR-10 from CIFAR10_DIR: $CIFAR10_DIR"
  data+=("$CIFAR10_DIR")
elif has_cifar "$root/data"; then
  say "CIFAR-10 from $root/data"
  data+=("$root/data")
elif "$root/tools/get_cifar10.sh" "$root/.data"; then
  data+=("$root/.data")
else
  say "No CIFAR-10 here: TRAINING ON THE BUILT-IN SYNTHETIC SET (ten classes of drawn pictures)"
  data=(--data-set SYNTHETIC)
  cpu_epochs=$synthetic_epochs
fi

if [ "$device" = cuda ]; then
  model=${MODEL:-$gpu_model}
  recipe=(--epochs "${EPOCHS:-$gpu_epochs}" --batch-size "$gpu_batch" --lr "$gpu_lr")
else
  model=${MODEL:-$cpu_model}
  recipe=(--epochs "${EPOCHS:-$cpu_epochs}" --batch-size "$cpu_batch" --lr "$cpu_lr"
    "${cpu_more[@]}" --print-every 200)
  # Whoever asks for epochs gets them all.
  [ -n "${EPOCHS:-}" ] || recipe+=(--max-minutes "$cpu_minutes")
fi
output=${OUTPUT:-$root/output/quickstart}
if [ -z "${OUTPUT:-}" ]; then  # an earlier run is kept
  number=1
  while [ -e "$output" ]; do
    number=$((number + 1))
    output=$root/output/quickstart-$number
  done
fi

say "Training $model on the $device"
status=0
"$train" --model "$model" "${data[@]}" "${recipe[@]}" --device "$device" --output_dir "$output" ||
  status=$?
if [ $status -ne 0 ]; then
  if [ $status -eq 130 ] && [ -f "$output/checkpoint.safetensors" ]; then
    say "Stopped. To go on: $train --model $model ${data[*]} ${recipe[*]} --device $device" \
      "--output_dir $output --resume $output/checkpoint.safetensors"
  fi
  exit $status
fi
say "Evaluating the best checkpoint"
"$train" --model "$model" "${data[@]}" --device "$device" --eval \
  --resume "$output/best_checkpoint.safetensors"
say "Done in $((SECONDS - began)) s"
echo "   log          $output/log.txt"
echo "   checkpoints  $output/checkpoint.safetensors (the last)"
echo "                $output/best_checkpoint.safetensors (the best)"
