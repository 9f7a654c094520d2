// A library for LD_PRELOAD (glibc) that makes one call of a program go wrong, from main() on, for
// run.sh beside this file.
//
//   FAULT_CALL   which call: malloc, aligned_alloc, write, fsync, link or rename
//   FAULT_AT     the how-maniest, from 1, or "all"; 0: none, but their number is written to stderr
//   FAULT_DO     "kill": the process ends there, as by kill -9; otherwise the call fails
//   FAULT_FILE   write, fsync, link, rename: only of files with this in their path
//   FAULT_BYTES  malloc, aligned_alloc: only of so many bytes or more
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <signal.h>
#include <unistd.h>

#define SHOWN extern "C" __attribute__((visibility("default")))

extern "C" void* __libc_malloc(size_t bytes);
extern "C" void* __libc_memalign(size_t alignment, size_t bytes);

namespace {

const char* variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

constexpr long all = -1;

// Read before main().
struct Plan {
  const char *call = "", *file = "";
  long at = 0, bytes = 0;
  bool kill = false;
} plan;
std::atomic<long> calls{0};
std::atomic<bool> started{false};  // main() has begun
int (*program_main)(int, char**, char**) = nullptr;

int counted_main(int argc, char** argv, char** environment) {
  started = true;
  return program_main(argc, argv, environment);
}

// Is this the call?
bool now(const char* call) {
  if (!started) return false;
  if (std::strcmp(plan.call, call) != 0 || (++calls != plan.at && plan.at != all)) return false;
  if (plan.kill) kill(getpid(), SIGKILL);
  return true;
}
bool now(const char* call, size_t bytes) {
  return static_cast<long>(bytes) >= plan.bytes && now(call);
}
bool now(const char* call, const char* path) {
  return std::strstr(path, plan.file) && now(call);
}
bool now(const char* call, int file) {
  char link[64], path[4096] = {};
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  return readlink(link, path, sizeof path - 1) > 0 && now(call, static_cast<const char*>(path));
}

template <class F>
F* real(F*, const char* name) {
  return reinterpret_cast<F*>(dlsym(RTLD_NEXT, name));
}

__attribute__((constructor)) void begin() {
  const char* at = variable("FAULT_AT");
  plan = {variable("FAULT_CALL"), variable("FAULT_FILE"),
          std::strcmp(at, "all") == 0 ? all : std::atol(at), std::atol(variable("FAULT_BYTES")),
          std::strcmp(variable("FAULT_DO"), "kill") == 0};
}
__attribute__((destructor)) void end() {
  if (plan.at == 0) std::fprintf(stderr, "calls of %s: %ld\n", plan.call, calls.load());
}

}  // namespace

using Main = int(int, char**, char**);
SHOWN int __libc_start_main(Main* main, int argc, char** argv, Main* init, void (*fini)(),
                            void (*rtld_fini)(), void* stack_end) {
  program_main = main;
  return real(&::__libc_start_main, "__libc_start_main")(counted_main, argc, argv, init, fini,
                                                         rtld_fini, stack_end);
}
SHOWN void* malloc(size_t bytes) {
  if (!now("malloc", bytes)) return __libc_malloc(bytes);
  errno = ENOMEM;
  return nullptr;
}
SHOWN void* aligned_alloc(size_t alignment, size_t bytes) {
  if (!now("aligned_alloc", bytes)) return __libc_memalign(alignment, bytes);
  errno = ENOMEM;
  return nullptr;
}
SHOWN ssize_t write(int file, const void* from, size_t bytes) {
  static auto* const call = real(&::write, "write");
  if (std::strcmp(plan.call, "write") == 0 && now("write", file)) {
    errno = ENOSPC;
    return -1;
  }
  return call(file, from, bytes);
}
SHOWN int fsync(int file) {
  static auto* const call = real(&::fsync, "fsync");
  if (std::strcmp(plan.call, "fsync") != 0 || !now("fsync", file)) return call(file);
  errno = EIO;
  return -1;
}
SHOWN int link(const char* from, const char* to) noexcept {
  static auto* const call = real(&::link, "link");
  if (std::strcmp(plan.call, "link") != 0 || !now("link", to)) return call(from, to);
  errno = EPERM;
  return -1;
}
SHOWN int rename(const char* from, const char* to) noexcept {
  static auto* const call = real(&::rename, "rename");
  if (std::strcmp(plan.call, "rename") != 0 || !now("rename", to)) return call(from, to);
  errno = EIO;
  return -1;
}
