// Part of a model that is run again in the backward pass, rather than keeping what it computed
// (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost").
#pragma once

#include <functional>
#include <vector>

#include "engine/context.h"

namespace krait {

// f(ctx, inputs). With a tape, only `inputs` and what f itself holds are kept. The backward pass
// runs f again, on a tape of its own, and then goes back through it: the gradients of inputs and
// parameters are added where the outer tape wants them, in the same order and so with the same bits
// as without; that needs kernels whose results do not depend on whether states are kept. f must be
// a pure function of the inputs and of what it holds by value, must not return one of its inputs as
// it is, and may call remake itself.
Tensors remake(Context& ctx, Tensors inputs, std::function<Tensors(Context&, Tensors)> f);

}  // namespace krait
