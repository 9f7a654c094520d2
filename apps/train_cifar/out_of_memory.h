// Where the machine has no memory left, a program says so in one line, whichever thread asked for
// it.
#pragma once

namespace krait {

// From here on: an exception that nothing can catch, as in a thread of OpenMP, ends the program
// with exit code 1 and `program`: what it was. `program` must live on.
void watch_for_lost_errors(const char* program);

}  // namespace krait
