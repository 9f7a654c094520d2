// A handler for failed allocations, which remembers them, and one for the program's end.
#include "apps/train_cifar/out_of_memory.h"

#include <atomic>
#include <cstring>
#include <exception>
#include <new>
#include <unistd.h>

namespace krait {
namespace {

const char* program_name = "";
std::atomic<bool> out_of_memory{false};

void say(const char* text) {  // without memory
  [[maybe_unused]] auto n = write(STDERR_FILENO, text, std::strlen(text));
}

[[noreturn]] void end() {
  say(program_name);
  const std::exception_ptr error = std::current_exception();
  try {
    if (!out_of_memory && error) std::rethrow_exception(error);
    say(out_of_memory ? ": out of memory" : ": an error in one of its threads");
  } catch (const std::exception& e) {
    say(": ");
    say(e.what());
  } catch (...) {
    say(": an error of an unknown kind");
  }
  say("\n");
  _exit(1);
}

}  // namespace

void watch_for_lost_errors(const char* program) {
  program_name = program;
  std::set_new_handler([] {
    out_of_memory = true;
    throw std::bad_alloc();
  });
  std::set_terminate(end);
}

}  // namespace krait
