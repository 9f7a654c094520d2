// How things fail. KRAIT_CHECK: the program is wrong (Error, with the place). KRAIT_INPUT: what the
// user gave is wrong (InputError: one clear line, exit code 2).
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace krait {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct InputError : Error {
  using Error::Error;
};

template <class... Parts>
std::string cat(const Parts&... parts) {
  std::ostringstream s;
  (s << ... << parts);
  return s.str();
}

[[noreturn]] inline void fail(const char* file, int line, const std::string& text) {
  throw Error(cat(text, " (", file, ":", line, ")"));
}

}  // namespace krait

#define KRAIT_CHECK(condition, ...)                                                 \
  do {                                                                              \
    if (!(condition)) ::krait::fail(__FILE__, __LINE__, ::krait::cat(__VA_ARGS__)); \
  } while (0)

#define KRAIT_INPUT(condition, ...)                                         \
  do {                                                                      \
    if (!(condition)) throw ::krait::InputError(::krait::cat(__VA_ARGS__)); \
  } while (0)
