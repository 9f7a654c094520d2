// The signal handler behind interrupt.h.
#include "apps/train_cifar/interrupt.h"

#include <csignal>
#include <initializer_list>
#include <unistd.h>

namespace krait {
namespace {

volatile std::sig_atomic_t asked = 0;
bool speaks = true;

void on_signal(int signal) {
  if (asked) {  // a scheduler may send its signals more than once, to remind
    if (signal == SIGINT) _exit(130);
    return;
  }
  asked = 1;
  if (!speaks) return;
  const char text[] = "\nfinishing this step and saving (Ctrl-C: leave at once)\n";
  [[maybe_unused]] auto n = write(STDERR_FILENO, text, sizeof text - 1);
}

}  // namespace

void watch_for_interrupt(bool speak) {
  speaks = speak;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1, SIGUSR2}) sigaction(signal, &action, nullptr);
}

bool interrupt_asked() {
  return asked != 0;
}

}  // namespace krait
