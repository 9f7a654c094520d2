// Starting a model from another one's weights (fine-tuning): what fits is taken as it is, position
// embeddings and, on request, patches are resized, the head is new where the classes differ.
#pragma once

#include "engine/checkpoint.h"

namespace krait {

// How a model's tokens lie, which names and shapes do not say.
struct TokenLayout {
  int64_t patches = 0;                // a square of them
  std::vector<int64_t> class_tokens;  // their places in the sequence, ascending
};

struct TransferOptions {
  TokenLayout from, to;
  // Of position embeddings on another grid. grid: those of the patches are resized, those of class
  // tokens stay with their tokens. published: as the published code does it, which takes the first
  // rows for the class tokens' wherever these stand (hustvl/Vim, main.py; utils.py).
  enum class PosEmbed : uint8_t { grid, published } pos_embed = PosEmbed::grid;
  bool resample_patches = false;  // take patches of another size, see patch_resample.h
};

// What happened to each tensor, as it is told to the user: "head.weight (10, 192)".
struct Transfer {
  size_t loaded = 0;  // as they are
  std::vector<std::string> resized, fresh, dropped, computed;
  std::string text() const;  // a line for each of these that there is
};

// Writes to the weights and to the average, if there is one, and their copies; what is new keeps
// its start, so initialise() comes first. Rotation tables in the file are not loaded: they follow
// from the sizes. InputError naming the first differences, if it is of another model: only heads,
// class tokens, position embeddings and patches may differ. Nothing is changed then.
Transfer transfer_weights(Context& ctx, const Checkpoint& from, ParamStore& to,
                          const TransferOptions& options);

// Takes the file's average for its weights. InputError if it has none.
void take_average(Checkpoint& checkpoint);

}  // namespace krait
