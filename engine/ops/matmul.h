// The matrix product as ops call it, behind linear and other ops that hold one.
#pragma once

#include "engine/context.h"

namespace krait {

// c = op(a) op(b), or c += op(a) op(b), where op transposes if its flag says so. A tensor of any
// rank is the matrix (rows, last dimension); rows may be apart.
void matmul(Context& ctx, const Tensor& a, bool trans_a, const Tensor& b, bool trans_b,
            const Tensor& c, bool add);

// The operands of one product.
struct Product {
  Tensor a, b, c;
};
// One or two such products, in one launch if there are two of the same sizes.
void matmul(Context& ctx, const std::vector<Product>& products, bool trans_a, bool trans_b,
            bool add);

// The same for gradients: c is where it goes, or empty if it is not wanted.
struct WantedProduct {
  Tensor a, b;
  Tape::Target c;
};
void matmul(Context& ctx, const std::vector<WantedProduct>& products, bool trans_a, bool trans_b);
// a^T b for gradients of parameters: beside what follows (Context::beside).
void matmul_beside(Context& ctx, const std::vector<WantedProduct>& products);

}  // namespace krait
