// Handles and cached plans of cuBLASLt and cuDNN. The engine's Context owns one; kernels only use
// it. Creating handles and plans is not allowed while a graph is captured: the eager steps before
// the capture do it.
#pragma once

#include <memory>

namespace krait {

class Libraries {
 public:
  Libraries();
  ~Libraries();
  Libraries(const Libraries&) = delete;
  struct Impl;  // kernels/common/libraries_impl.h, for the rows that call a library
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace krait
