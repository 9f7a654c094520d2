// The matrix product as ops call it, behind linear and other ops that hold one.
#pragma once

#include "engine/context.h"

namespace krait {

// c = op(a) op(b), or c += op(a) op(b), where op transposes if its flag says so. A tensor of any
// rank is the matrix (rows, last dimension); rows may be apart.
void matmul(Context& ctx, const Tensor& a, bool trans_a, const Tensor& b, bool trans_b,
            const Tensor& c, bool add);

}  // namespace krait
