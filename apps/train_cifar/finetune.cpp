// From a checkpoint to a model that starts with its weights; which parameters learn, and how fast.
#include "apps/train_cifar/finetune.h"

#include <cmath>
#include <fnmatch.h>

#include "engine/nearest.h"
#include "models/identify.h"
#include "models/transfer.h"

namespace krait {
namespace {

TokenLayout layout_of(const ModelConfig& config) {
  return std::visit(
      [](const auto& c) -> TokenLayout {
        const int64_t P = c.patches(), first = c.tokens() - P;  // class tokens, and dist_token
        if constexpr (requires { c.use_middle_cls_token; }) {   // a Vision Mamba
          if (c.if_cls_token && c.use_double_cls_token) return {P, {0, P + 1}};
          if (c.if_cls_token && c.use_middle_cls_token) return {P, {P / 2}};
        }
        std::vector<int64_t> places;
        for (int64_t k = 0; k < first; ++k) places.push_back(k);
        return {P, places};
      },
      config);
}

// Where the file's tokens stand. If it does not say where its class token is, it is where this
// model has it, if it has one, or as in the published models.
TokenLayout layout_in(const Checkpoint& from, const TokenLayout& model, std::string& assumed) {
  const bool says = from.state && !from.state->config.empty();
  if (says) return layout_of(model_config_from_json(from.state->config));
  const StoredTensor* pos = from.content.find("pos_embed");
  const int64_t rows = pos && pos->shape.size() == 3 ? pos->shape[1] : 0;
  if (from.content.find("cls_token_head")) return {rows - 2, {0, rows - 1}};
  if (!from.content.find("cls_token")) return {rows, {}};
  if (from.content.find("dist_token")) return {rows - 2, {0, 1}};
  if (!from.content.find("layers.0.mixer.A_log")) return {rows - 1, {0}};  // a transformer
  const bool tables = from.content.find("rope.freqs_cos");
  const bool middle = model.class_tokens.empty() ? !tables : model.class_tokens[0] > 0;
  assumed = cat("its class token stands ", middle ? "in the middle" : "first");
  return {rows - 1, {middle ? (rows - 1) / 2 : 0}};
}

// layers.3.mixer.D -> 3; -1: of no layer.
int layer_of(const std::string& name) {
  for (const char* prefix : {"layers.", "blocks."}) {
    const size_t n = std::string(prefix).size();
    if (name.starts_with(prefix)) return std::stoi(name.substr(n));
  }
  return -1;
}

bool of_embedding(const std::string& name) {
  for (const char* prefix : {"pos_embed", "patch_embed.", "cls_token", "dist_token"})
    if (name.starts_with(prefix)) return true;
  return false;
}

std::vector<std::string> patterns_of(const TrainOptions& o) {
  std::vector<std::string> all;
  for (const std::string& text : o.freeze)
    for (const std::string& pattern : split_at_commas(text)) all.push_back(pattern);
  return all;
}

}  // namespace

Described described(const Checkpoint& c) {
  if (c.state && !c.state->config.empty())
    return {model_config_from_json(c.state->config), c.state->model, ""};
  std::string why;
  const std::optional<ModelIdentity> id = identify_model(weight_shapes(c), why);
  KRAIT_INPUT(id, c.path,
              ": does not say which model it is of, and its weights are of none that is ",
              "known here", why.empty() ? "" : " (" + why + ")", "; --model may say");
  const ImageModel model(id->config);
  for (const std::string& name : id->names)
    if (id->names.size() == 1 || (c.foreign && name == c.foreign->model)) {
      ModelConfig config = model_config(name);
      set_num_classes(config, model.num_classes());
      return {config, name, name};
    }
  std::string assumed = !model.vim() || model.vim()->if_rope ? "" : "no RoPE";
  for (const std::string& a : id->assumed) assumed += (assumed.empty() ? "" : ", ") + a;
  const std::string what = std::visit(
      [](const auto& v) {
        return cat(v.depth, " layers of width ", v.embed_dim, ", pictures of ", v.img_size,
                   " in patches of ", v.patch_size);
      },
      id->config);
  const std::string architecture = architecture_of(id->config);
  return {id->config, architecture,
          cat("a ", architecture, ", ", what, assumed.empty() ? "" : "; assumed: " + assumed),
          true};
}

std::string start_from(Context& ctx, const Checkpoint& from, const TrainOptions& o,
                       const ImageModel& model, ParamStore& params) {
  TransferOptions t{.from = {}, .to = layout_of(model.config())};
  std::string assumed;
  t.from = layout_in(from, t.to, assumed);
  t.resample_patches = o.resample_patches;
  if (o.pos_embed_resize == "published") t.pos_embed = TransferOptions::PosEmbed::published;
  const Transfer done = transfer_weights(ctx, from, params, t);
  return cat("starts from ", from.path, o.weights == "ema" ? ", the average of its weights" : "",
             assumed.empty() ? "" : " (assumed: " + assumed + ")", "\n", done.text());
}

std::vector<float> learning_rates(const TrainOptions& o, const ParamStore& params) {
  const std::vector<std::string> patterns = patterns_of(o);
  if (patterns.empty() && !o.linear_probe && o.layer_decay == 1) return {};
  int depth = 0;
  std::vector<std::string> names;
  for (const Param& p : params.all()) {
    depth = std::max(depth, layer_of(p.name) + 1);
    names.push_back(p.name);
  }
  std::vector<float> rates;
  std::vector<bool> used(patterns.size());
  bool any = false;
  for (const std::string& name : names) {
    const int layer = layer_of(name);
    const int above = layer >= 0 ? depth - layer : of_embedding(name) ? depth + 1 : 0;
    double rate = std::max(1e-30, std::pow(o.layer_decay, above));  // not 0: not frozen
    for (size_t k = 0; k < patterns.size(); ++k)
      if (fnmatch(patterns[k].c_str(), name.c_str(), 0) == 0) {
        rate = 0;
        used[k] = true;
      }
    if (o.linear_probe && !name.starts_with("head.")) rate = 0;
    any = any || rate > 0;
    rates.push_back(static_cast<float>(rate));
  }
  for (size_t k = 0; k < patterns.size(); ++k)
    KRAIT_INPUT(used[k], "--freeze ", patterns[k],
                " fits no parameter. The nearest names: ", nearest(patterns[k], names));
  KRAIT_INPUT(any, "--freeze leaves nothing to train");
  return rates;
}

}  // namespace krait
