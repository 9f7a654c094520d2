// Finding weights in what somebody's trainer saved.
#include "engine/io/state_dict.h"

namespace krait {
namespace {

using Kind = PthValue::Kind;

bool is_state_dict(const PthValue& v) {
  bool tensors = false;
  for (size_t i = 0; i + 1 < v.items.size(); i += 2) {
    if (!v.items[i].is(Kind::text)) return false;
    tensors |= v.items[i + 1].is(Kind::tensor);
  }
  return v.is(Kind::dict) && tensors;
}

}  // namespace

StateDict find_state_dict(const PthValue& checkpoint, bool average) {
  static const std::vector<std::string> weights = {"model",       "state_dict", "model_state_dict",
                                                   "model_state", "net",        "module"};
  static const std::vector<std::string> averages = {"model_ema", "state_dict_ema", "ema",
                                                    "ema_state_dict"};
  for (const std::string& key : average ? averages : weights)
    if (const PthValue* v = checkpoint.find(key); v && is_state_dict(*v)) return {v, key};
  if (!average && is_state_dict(checkpoint)) return {&checkpoint, ""};
  return {};
}

NamedTensors tensors_of(const PthValue& state_dict, uint64_t file_bytes, const std::string& path) {
  NamedTensors out;
  uint64_t left = pth_budget(file_bytes);
  for (size_t i = 0; i + 1 < state_dict.items.size(); i += 2) {
    const std::string& name = state_dict.items[i].text;
    const PthValue& v = state_dict.items[i + 1];
    if (!v.is(Kind::tensor)) {
      out.others.push_back(name);
      continue;
    }
    const auto bytes = static_cast<uint64_t>(v.tensor->bytes());
    KRAIT_INPUT(bytes <= left, path, ": its tensors need far more memory than its size");
    left -= bytes;
    out.tensors.emplace_back(name, v.tensor->stored());
  }
  for (const std::string prefix : {"module.", "_orig_mod.", "module."}) {
    bool all = !out.tensors.empty();
    for (const auto& [name, t] : out.tensors) all = all && name.starts_with(prefix);
    if (!all) continue;
    for (auto& [name, t] : out.tensors) name.erase(0, prefix.size());
  }
  return out;
}

SafeTensors read_pth_weights(const std::string& path) {
  auto bytes = std::make_shared<const Bytes>(read_file(path));
  const uint64_t size = bytes->size();
  return weights_of(read_pth(std::move(bytes), path), size, path);
}

SafeTensors weights_of(const PthValue& checkpoint, uint64_t size, const std::string& path) {
  const StateDict weights = find_state_dict(checkpoint, false);
  KRAIT_INPUT(weights.dict, path, ": has no state dict (names and tensors), neither at the top ",
              "nor under model, state_dict or the like");
  SafeTensors content;
  content.tensors = tensors_of(*weights.dict, size, path).tensors;
  if (const StateDict average = find_state_dict(checkpoint, true); average.dict)
    for (auto& [name, t] : tensors_of(*average.dict, size, path).tensors)
      content.tensors.emplace_back("ema." + name, std::move(t));
  if (const PthValue* pictures = checkpoint.find("pictures");
      pictures && pictures->is(PthValue::Kind::text))
    content.metadata["pictures"] = pictures->text;
  return content;
}

}  // namespace krait
