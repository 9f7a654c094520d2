// Ctrl-C: the first asks the training to finish its step and save, a second leaves at once.
#pragma once

namespace krait {

void watch_for_interrupt();  // SIGINT and SIGTERM
bool interrupt_asked();

}  // namespace krait
