// Which tensor of a checkpoint becomes which parameter, and how.
#include "models/transfer.h"

#include <algorithm>
#include <cmath>

#include "models/patch_resample.h"
#include "models/vim/pos_embed.h"

namespace krait {
namespace {

using Role = ParamStore::Role;
using Values = std::vector<double>;

std::vector<int64_t> dims(const Shape& s) {
  return {s.dim.begin(), s.dim.begin() + s.rank};
}

bool of_head(const std::string& name) {
  return name.starts_with("head.") || name.starts_with("head_dist.");
}
bool is_class_token(const std::string& name) {
  return name == "cls_token" || name == "cls_token_head" || name == "cls_token_tail" ||
         name == "dist_token";
}
// May one model have it and the other not?
bool optional(const std::string& name) {
  return of_head(name) || is_class_token(name) || name == "pos_embed";
}
bool is_table(const std::string& name) {
  return name == "rope.freqs_cos" || name == "rope.freqs_sin";
}
bool is_weight(const std::string& name) {
  return !name.starts_with("optimizer.") && !name.starts_with("ema.");
}

int square_root(int64_t n, const std::string& what) {
  const auto side = static_cast<int>(std::lround(std::sqrt(static_cast<double>(n))));
  KRAIT_INPUT(n > 0 && int64_t{side} * side == n, what, ": ", n, " patches are no square");
  return side;
}

// Do class tokens stand alike, first, last or between the patches?
bool same_places(const std::vector<int64_t>& a, int64_t rows_a, const std::vector<int64_t>& b,
                 int64_t rows_b) {
  auto kind = [](int64_t at, int64_t rows) { return at == 0 ? 0 : at == rows - 1 ? 2 : 1; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](int64_t x, int64_t y) { return kind(x, rows_a) == kind(y, rows_b); });
}

class Transferring {
 public:
  Transferring(Context& ctx, const Checkpoint& from, ParamStore& to, const TransferOptions& o)
      : ctx_(ctx), from_(from), to_(to), o_(o) {}

  Transfer run() {
    size_t known = 0;
    for (const Param& p : to_.all()) {
      const StoredTensor* t = from_.content.find(p.name);
      known += t ? 1 : 0;
      if (t)
        take(p, *t);
      else if (optional(p.name))
        done_.fresh.push_back(shown(p));
      else
        note(cat(p.name, " ", p.shape, " is not in the file"));
    }
    KRAIT_INPUT(known, from_.path, ": is not a checkpoint: none of this model's ", to_.all().size(),
                " parameters is in it");
    for (const auto& [name, t] : from_.content.tensors) {
      if (!is_weight(name) || to_.find(name)) continue;
      const std::string what = cat(name, " ", shape_text(t.shape));
      if (is_table(name))
        done_.computed.push_back(what);
      else if (optional(name))
        done_.dropped.push_back(what);
      else
        note(what + " is not in this model");
    }
    KRAIT_INPUT(!differ_, from_.path, ": is of another model: ", first_, "; ", differ_,
                differ_ == 1 ? " name differs" : " names differ");
    for (const auto& [p, values] : values_)
      for (const Role role : {Role::master, Role::ema})
        if (to_.flat(role)) ctx_.set(to_.part(role, *p), values);
    to_.refresh_copy(ctx_);
    return done_;
  }

 private:
  static std::string shown(const Param& p) { return cat(p.name, " ", p.shape); }
  void note(const std::string& what) {
    if (differ_++ < 2) first_ += (first_.empty() ? "" : "; ") + what;
  }
  void take(const Param& p, const StoredTensor& t) {
    KRAIT_INPUT(t.numeric(), from_.path, ": ", p.name, " is of type ", t.dtype,
                ", which cannot be loaded");
    const std::vector<int64_t> want = dims(p.shape);
    if (p.name == "pos_embed" && t.shape.size() == 3 && t.shape[0] == 1 && t.shape[2] == want[2])
      return take_pos_embed(p, t);
    if (t.shape == want) {
      values_.emplace_back(&p, t.values());
      ++done_.loaded;
    } else if (of_head(p.name)) {
      done_.dropped.push_back(cat(p.name, " ", shape_text(t.shape)));
      done_.fresh.push_back(shown(p));
    } else if (p.name == "patch_embed.proj.weight" && other_patches(t.shape, want)) {
      values_.emplace_back(&p, resample_patches(t.values(), static_cast<int>(t.shape[2]),
                                                static_cast<int>(want[2]), want[0] * want[1]));
      done_.resized.push_back(
          cat(p.name, ", patches of ", t.shape[2], " -> ", want[2], " pixels (pseudo-inverse)"));
    } else {
      note(
          cat(p.name, " is ", shape_text(t.shape), " in the file and ", p.shape, " in this model"));
    }
  }
  // Do they differ in the patches' size alone, and is that allowed?
  bool other_patches(const std::vector<int64_t>& a, const std::vector<int64_t>& b) const {
    const bool only = a.size() == 4 && a[0] == b[0] && a[1] == b[1] && a[2] == a[3] && a[2] > 0;
    KRAIT_INPUT(!only || o_.resample_patches, from_.path, ": has patches of ", a[2],
                " pixels, this model of ", b[2], "; --resample-patches converts them");
    KRAIT_INPUT(!only || a[2] <= 256, from_.path, ": patches of ", a[2], " pixels are too large");
    return only;
  }

  void take_pos_embed(const Param& p, const StoredTensor& t) {
    const int64_t D = p.shape[2], rows = t.shape[1], cls = std::ssize(o_.to.class_tokens);
    const bool published = o_.pos_embed == TransferOptions::PosEmbed::published;
    std::vector<int64_t> places = o_.from.class_tokens;
    if (published) {  // the first rows, whatever they are
      places.clear();
      for (int64_t k = 0; k < cls; ++k) places.push_back(k);
    }
    const int from = square_root(rows - std::ssize(places), cat(from_.path, ": pos_embed")),
              to = square_root(o_.to.patches, "this model");
    const Values all = t.values();
    Values grid, extra;  // of the patches; of the class tokens
    for (int64_t r = 0, k = 0; r < rows; ++r) {
      const bool is_extra = k < std::ssize(places) && places[k] == r;
      k += is_extra;
      Values& v = is_extra ? extra : grid;
      v.insert(v.end(), all.begin() + r * D, all.begin() + (r + 1) * D);
    }
    if (from != to) grid = resize_pos_embed(grid, from, to, D);
    Values out = ctx_.values(to_.part(Role::master, p));  // class tokens that are new start so
    const std::vector<int64_t>& at = o_.to.class_tokens;
    const int64_t kept = std::min<int64_t>(cls, std::ssize(places));
    for (int64_t r = 0, k = 0, g = 0; r < p.shape[1]; ++r) {
      const bool is_extra = published ? r < cls : k < cls && at[k] == r;
      if (!is_extra)
        std::copy_n(grid.begin() + g++ * D, D, out.begin() + r * D);
      else if (k < kept)
        std::copy_n(extra.begin() + k * D, D, out.begin() + r * D);
      k += is_extra;
    }
    values_.emplace_back(&p, out);
    std::string how;
    if (from != to) how = cat(from, " x ", from, " -> ", to, " x ", to, " patches (bicubic)");
    const char* comma = how.empty() ? "" : ", ";
    if (cls != std::ssize(places))
      how += cat(comma, places.size(), " -> ", cls, " class tokens");
    else if (!published && !same_places(places, rows, at, p.shape[1]))
      how += cat(comma, "class token moved");
    else if (published && places != at && from != to)
      how += cat(comma, "the first row taken for the class token's");
    if (how.empty())
      ++done_.loaded;
    else
      done_.resized.push_back("pos_embed, " + how);
  }

  Context& ctx_;
  const Checkpoint& from_;
  ParamStore& to_;
  const TransferOptions& o_;
  Transfer done_;
  std::vector<std::pair<const Param*, Values>> values_;  // to be written
  int differ_ = 0;
  std::string first_;
};

}  // namespace

std::string Transfer::text() const {
  std::string s = cat("  loaded as they are: ", loaded, loaded == 1 ? " tensor\n" : " tensors\n");
  auto list = [&](const char* what, const std::vector<std::string>& names) {
    if (names.empty()) return;
    s += cat("  ", what, ": ");
    for (size_t i = 0; i < names.size(); ++i) s += (i ? "; " : "") + names[i];
    s += "\n";
  };
  list("resized", resized);
  list("new", fresh);
  list("dropped", dropped);
  list("computed anew", computed);
  return s;
}

Transfer transfer_weights(Context& ctx, const Checkpoint& from, ParamStore& to,
                          const TransferOptions& options) {
  return Transferring(ctx, from, to, options).run();
}

void take_average(Checkpoint& c) {
  KRAIT_INPUT(c.has_ema(), c.path, ": has no average of its weights (EMA)");
  std::erase_if(c.content.tensors, [](const auto& t) { return !t.first.starts_with("ema."); });
  for (auto& [name, t] : c.content.tensors) name.erase(0, 4);
}

}  // namespace krait
