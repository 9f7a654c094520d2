// Which parameters have weight decay: a file of its own, since the readers of PyTorch's optimisers
// need it and nothing else of the parameters.
#include "engine/params.h"

namespace krait {

bool decays(const std::string& name, const Shape& shape) {
  if (shape.rank <= 1 || name.ends_with(".bias")) return false;
  for (const char* exempt :
       {"pos_embed", "cls_token", "dist_token", "cls_token_head", "cls_token_tail"})
    if (name == exempt) return false;
  return true;
}

}  // namespace krait
