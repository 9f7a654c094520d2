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
right() { [ -f "$archive" ] && [ "$(md5sum <"$archive" | cut -d ' ' -f 1)" = "$md5" ]; }
give_up() {
  echo "$1" >&2
  echo "No network here? Fetch $url elsewhere, put it into $dir and run this again," >&2
  echo "or set CIFAR10_DIR to a folder that has the data already." >&2
  exit 1
}

if complete "$unpacked"; then
  echo "CIFAR-10 is already in $unpacked"
  exit 0
fi
mkdir -p "$dir"
if ! right; then
  part=$archive.part
  echo "Downloading $url (162 MB)"
  quiet=
  [ -t 2 ] || quiet=1
  if command -v curl >/dev/null; then
    fetch() {
      curl --fail --location --connect-timeout 20 --retry 3 --continue-at - \
        ${quiet:+--silent --show-error} --output "$part" "$url"
    }
  elif command -v wget >/dev/null; then
    fetch() {
      wget --continue --timeout=20 --tries=3 ${quiet:+--no-verbose} --output-document="$part" "$url"
    }
  else
    give_up "Neither curl nor wget is installed, so nothing can be downloaded."
  fi
  if ! fetch; then
    give_up "The download did not finish. What came is kept, and the next run goes on from there."
  fi
  mv "$part" "$archive"
  if ! right; then
    rm -f "$archive"
    give_up "What was downloaded is not the official archive (its MD5 is not $md5); it was deleted."
  fi
fi
echo "Unpacking into $unpacked"
tar -xzf "$archive" -C "$dir"
complete "$unpacked" || give_up "The archive did not hold all six batches."
rm -f "$archive"
echo "CIFAR-10 is in $unpacked"
