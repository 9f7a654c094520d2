// One process on its own, and what is made of gathering and sending.
#include "engine/parallel/ranks.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace krait {

void Ranks::all_gather(const void* mine, void* all, size_t bytes) {
  std::memcpy(all, mine, bytes);
}
void Ranks::broadcast(void*, size_t, int) {}
std::unique_ptr<Sum> Ranks::make_sum(Context&) {
  return nullptr;
}
void Ranks::end_all(int status) {
  std::_Exit(status);
}

bool Ranks::any(bool mine) {
  if (size_ == 1) return mine;
  const std::vector<char> all = gather(static_cast<char>(mine));
  return std::any_of(all.begin(), all.end(), [](char c) { return c != 0; });
}

size_t Ranks::smallest(size_t mine) {
  const std::vector<size_t> all = gather(mine);
  return *std::min_element(all.begin(), all.end());
}

std::string Ranks::first_text(const std::string& mine) {
  const std::vector<size_t> sizes = gather(mine.size());
  for (int r = 0; r < size_; ++r)
    if (sizes[r] > 0) {
      std::string text = rank_ == r ? mine : std::string(sizes[r], ' ');
      broadcast(text.data(), text.size(), r);
      return text;
    }
  return "";
}

void Ranks::check_same(const std::string& what, const std::string& text) {
  std::string first = text;
  size_t size = text.size();
  broadcast(&size, sizeof size, 0);
  first.resize(size);
  broadcast(first.data(), size, 0);
  const std::vector<char> same = gather(static_cast<char>(first == text));
  for (int r = 0; r < size_; ++r)
    KRAIT_INPUT(same[r], "rank ", r, " has ", what, " that rank 0 does not have");
}

void Ranks::broadcast(Context& ctx, const Tensor& t) {
  if (size_ == 1 || !t) return;
  std::vector<std::byte> bytes(t.count() * size_of(t.dtype()));
  ctx.download(bytes.data(), t, bytes.size());
  broadcast(bytes.data(), bytes.size(), 0);
  ctx.upload(t, bytes.data(), bytes.size());
}

Ranks& alone() {
  static Ranks one;
  return one;
}

}  // namespace krait
