// What the published trainer takes and this program does not, with the reason.
#pragma once

#include <string>

namespace krait {

// Why `name` ("--gpu") is refused; empty if it is not.
std::string reason_refused(const std::string& name);
// Why a value of an option is refused ("sched", "plateau"); empty if there is nothing to say.
std::string reason_refused(const std::string& option, const std::string& value);
// Is it a flag that says what is done anyway ("--no_nan2num")?
bool says_nothing_new(const std::string& name);
// For the help: the names of all of them, in lines.
std::string refused_help();

}  // namespace krait
