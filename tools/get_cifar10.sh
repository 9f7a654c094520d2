#!/usr/bin/env bash
# Downloads CIFAR-10 (binary version, 162 MB) into a folder, checks it and unpacks it.
#   tools/get_cifar10.sh DIR
# A broken download goes on where it stopped. CIFAR10_URL names another place to get it from.
set -euo pipefail

dir=${1:?usage: tools/get_cifar10.sh DIR}
url=${CIFAR10_URL:-https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz}
md5=c32a1d4ab5d03f1284b67883e8d87530
archive=$dir/cifar-10-binary.tar.gz
unpacked=$dir/cifar-10-batches-bin

complete() {
  local file
  for file in data_batch_{1,2,3,4,5}.bin test_batch.bin; do
    [ "$(stat -c %s "$1/$file" 2>/dev/null)" = 30730000 ] || return 1
  done
}
right() { [ -f "$1" ] && [ "$(md5sum <"$1" | cut -d ' ' -f 1)" = "$md5" ]; }
give_up() {
  echo "$1 If there is no network here, fetch" >&2
  echo "$url elsewhere and put it into $dir, or set CIFAR10_DIR to data you have." >&2
  exit 1
}

if complete "$unpacked"; then
  echo "CIFAR-10 is already in $unpacked"
  exit 0
fi
mkdir -p "$dir"
part=$archive.part
if right "$part"; then mv "$part" "$archive"; fi
if ! right "$archive"; then
  if command -v curl >/dev/null; then
    get=(curl --fail --location --connect-timeout 20 --continue-at - --output "$part")
    [ -t 2 ] || get+=(--silent --show-error)
    no_network=6 cannot_resume=33
  elif command -v wget >/dev/null; then
    get=(wget --continue --timeout=20 --tries=1 --output-document="$part")
    [ -t 2 ] || get+=(--no-verbose)
    no_network=4 cannot_resume=-
  else
    give_up "Neither curl nor wget is installed, so nothing can be downloaded."
  fi
  echo "Downloading $url (162 MB)"
  for attempt in 1 2 3 4 5; do
    status=0
    "${get[@]}" "$url" || status=$?
    if [ "$status" = 0 ] || [ "$status" = "$no_network" ]; then break; fi
    if [ "$status" = "$cannot_resume" ]; then rm -f "$part"; fi
    [ "$attempt" = 5 ] || sleep "$attempt"
  done
  if [ "$status" != 0 ]; then
    if [ -s "$part" ]; then
      give_up "The download broke off; what came is kept, and the next run goes on from there."
    fi
    give_up "CIFAR-10 could not be downloaded."
  fi
  if ! right "$part"; then
    rm -f "$part"
    give_up "What came is not the official archive (its MD5 is not $md5); it was deleted."
  fi
  mv "$part" "$archive"
fi
echo "Unpacking into $unpacked"
tar -xzf "$archive" -C "$dir"
if ! complete "$unpacked"; then give_up "The archive did not hold all six batches."; fi
rm -f "$archive"
echo "CIFAR-10 is in $unpacked"
