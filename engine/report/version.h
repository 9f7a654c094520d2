// Which state of the source this program was built from.
#pragma once

namespace krait {

// "0.1.0 (1234abc)", with "-dirty" where files were changed; "0.1.0" without git.
const char* build_version();

}  // namespace krait
