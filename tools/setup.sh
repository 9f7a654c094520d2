# Sourced by quickstart.sh and run_tests.sh: installs what is missing, chooses CPU or CUDA, builds.
# shellcheck shell=bash disable=SC2034  # device is for those who source this

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Threads that wait for others sleep, rather than take a core from them.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

say() { printf '== %s\n' "$*"; }

installed() {
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Installs the packages named, those that are missing. Where that is not possible it says what is
# needed and goes on: CMake then says what it cannot do without.
install_packages() {
  local missing=() package as_root=()
  for package in "$@"; do installed "$package" || missing+=("$package"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
      as_root=(sudo)
    else
      say "Please install as root: apt-get install ${missing[*]}   (going on without)"
      return 0
    fi
  fi
  say "Installing with apt-get${as_root[*]:+ through sudo}: ${missing[*]}"
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3)
  "${apt[@]}" update || say "apt-get update failed; trying with the lists there are"
  # Without openblas for OpenMP (older systems), the ordinary one will do.
  if [[ " ${missing[*]} " == *" libopenblas-openmp-dev "* ]] &&
    [ -z "$(apt-cache madison libopenblas-openmp-dev 2>/dev/null)" ]; then
    missing=("${missing[@]/#libopenblas-openmp-dev/libopenblas-dev}")
  fi
  "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null ||
    say "apt-get could not install everything (${missing[*]}); going on without"
}

# All that building and testing needs. More packages may be named.
install_needed() {
  local needed=(libfmt-dev nlohmann-json3-dev libcli11-dev doctest-dev zlib1g-dev libstb-dev "$@")
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    local command absent=()
    for command in g++ cmake ninja; do command -v $command >/dev/null || absent+=("$command"); done
    if [ ${#absent[@]} -gt 0 ]; then say "Please install: ${absent[*]}"; fi
    say "Not Debian or Ubuntu: a C++20 compiler, cmake 3.22, ninja or make, OpenBLAS and zlib are" \
      "needed (fmt, nlohmann-json, CLI11 and doctest are fetched where they are missing)"
    return 0
  fi
  command -v g++ >/dev/null || needed+=(g++)
  command -v cmake >/dev/null || needed+=(cmake)
  command -v ninja >/dev/null || needed+=(ninja-build)
  # Either of OpenBLAS's kinds is fine; for a fresh machine the one that shares OpenMP's threads.
  local blas found=
  for blas in libopenblas-openmp-dev libopenblas-pthread-dev libopenblas-serial-dev; do
    if installed $blas; then found=1; fi
  done
  [ -n "$found" ] || needed+=(libopenblas-openmp-dev)
  install_packages "${needed[@]}"
}

# nvcc is often installed beside the path.
find_nvcc() {
  if ! command -v nvcc >/dev/null && [ -x /usr/local/cuda/bin/nvcc ]; then
    PATH=$PATH:/usr/local/cuda/bin
  fi
  command -v nvcc >/dev/null
}

# Sets device to cuda where there are both a GPU and nvcc, else to cpu.
choose_device() {
  local gpu
  gpu=$({ nvidia-smi -L 2>/dev/null || true; } | sed -n 's/^GPU 0: \(.*\) (UUID.*/\1/p')
  device=cpu
  if [ -z "$gpu" ]; then
    say "No NVIDIA GPU here: building for the CPU ($(nproc) cores)"
  elif ! find_nvcc; then
    say "There is a GPU ($gpu) but no nvcc: building for the CPU. Install the CUDA toolkit to use it"
  else
    say "Building for the GPU ($gpu) and the CPU"
    device=cuda
  fi
}

# build FOLDER "TARGETS" [CMAKE ARGUMENTS]: configures and builds, reusing what is there.
build() {
  local folder=$1 targets=$2 log=$1/build.log start=$SECONDS generator=() jobs memory
  shift 2
  # Configured for another place (the checkout was moved, say): start again.
  if [ -f "$folder/CMakeCache.txt" ] &&
    ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$folder/CMakeCache.txt"; then
    rm -rf "$folder"
  fi
  mkdir -p "$folder"
  if [ ! -f "$folder/CMakeCache.txt" ] && command -v ninja >/dev/null; then generator=(-G Ninja); fi
  say "Configuring $folder"
  if ! cmake -S "$root" -B "$folder" "${generator[@]}" "$@" >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$folder/CMakeCache.txt"  # the next try is to look for everything again
    return 1
  fi
  grep -A 3 'CMake Warning' "$log" || true
  # All cores, but 1 GB of memory for each compiler.
  jobs=$(nproc)
  memory=$(awk '/MemAvailable/ { print int($2 / 1048576) }' /proc/meminfo 2>/dev/null || echo "$jobs")
  if [ "$memory" -lt "$jobs" ]; then jobs=$((memory > 0 ? memory : 1)); fi
  say "Building with $jobs jobs"
  # shellcheck disable=SC2086  # several targets
  if ! cmake --build "$folder" --parallel "$jobs" --target $targets 2>&1 | tee "$log" | progress; then
    say "The build failed; the whole log is $log" >&2
    grep -nE -A 3 'error|FAILED' "$log" | head -n 60 >&2 || true
    return 1
  fi
  say "Built in $((SECONDS - start)) s"
}

# Of ninja's or make's lines, shows only how far it is: on a terminal in place, else now and then.
progress() {
  local line n=0
  while IFS= read -r line; do
    [[ $line =~ ^\[\ *[0-9]+(/[0-9]+|%)\] ]] || continue
    if [ -t 1 ]; then
      printf '\r   %s ' "${BASH_REMATCH[0]}"
    elif [ $((n++ % 25)) -eq 0 ]; then
      echo "   ${BASH_REMATCH[0]}"
    fi
  done
  if [ -t 1 ]; then printf '\r'; fi
}
