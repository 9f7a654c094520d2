// Makes and drops what Libraries holds; the rows that call a library fill it.
#include "kernels/common/libraries.h"

#include "kernels/common/libraries_impl.h"

namespace krait {

Libraries::Libraries() : impl_(std::make_unique<Impl>()) {}
Libraries::~Libraries() = default;

}  // namespace krait
