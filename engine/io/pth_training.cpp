// From the numbers of PyTorch's optimisers to the names of parameters.
#include "engine/io/pth_training.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/params.h"

namespace krait {
namespace {

using Kind = PthValue::Kind;
using json = nlohmann::ordered_json;
using Named = std::pair<std::string, StoredTensor>;

constexpr int64_t most = int64_t{1} << 40;  // epochs and steps: more is nonsense

// Why an optimiser's state cannot be taken over.
struct NotUnderstood {
  std::string why;
};
void require(bool ok, const std::string& why) {
  if (!ok) throw NotUnderstood{why};
}

const PthValue& entry(const PthValue& v, const char* key, Kind kind) {
  const PthValue* e = v.find(key);
  require(e && e->is(kind), cat("its optimiser's state has no proper ", key));
  return *e;
}
double number(const PthValue* v) {
  require(v && (v->is(Kind::real) || v->is(Kind::integer)),
          "a number in its optimiser's groups is none");
  return v->is(Kind::real) ? v->real : static_cast<double>(v->integer);
}

// An integer, or a tensor with one number.
uint64_t step_of(const PthValue* v) {
  double t = -1;
  if (v && v->is(Kind::integer)) t = static_cast<double>(v->integer);
  if (v && v->is(Kind::tensor) && v->tensor->count() == 1) {
    const StoredTensor stored = v->tensor->stored();
    if (stored.numeric()) t = stored.values().at(0);
  }
  require(t >= 0 && t < static_cast<double>(most), "its optimiser's step is no number");
  return static_cast<uint64_t>(t);
}

bool is_parameter(const Named& t) {
  return t.first != "rope.freqs_cos" && t.first != "rope.freqs_sin";
}
bool decays(const Named& t) {
  Shape shape;
  shape.rank = static_cast<int>(std::min<size_t>(t.second.shape.size(), 2));  // all that matters
  return krait::decays(t.first, shape);
}

// The parameters in the order of the optimiser's numbers: number -> parameter.
std::map<int64_t, const Named*> numbered(const PthValue& groups,
                                         const std::vector<const Named*>& weights) {
  std::map<int64_t, const Named*> all;
  for (const PthValue& group : groups.items) {
    const bool split = groups.items.size() > 1, decayed = number(group.find("weight_decay")) != 0;
    std::vector<const Named*> members;
    for (const Named* t : weights)
      if (is_parameter(*t) && (!split || decays(*t) == decayed)) members.push_back(t);
    const PthValue& numbers = entry(group, "params", Kind::list);
    require(numbers.items.size() == members.size(),
            cat("a group of its optimiser has ", numbers.items.size(), " parameters, not ",
                members.size()));
    for (size_t k = 0; k < members.size(); ++k) {
      require(numbers.items[k].is(Kind::integer), "its optimiser's parameters have no numbers");
      require(all.emplace(numbers.items[k].integer, members[k]).second,
              "its optimiser's groups share a parameter");
    }
  }
  return all;
}

void take_moments(const PthValue& optimizer, PthTraining& to) {
  const PthValue& groups = entry(optimizer, "param_groups", Kind::list);
  const PthValue& state = entry(optimizer, "state", Kind::dict);
  require(groups.items.size() == 1 || groups.items.size() == 2,
          cat("its optimiser has ", groups.items.size(), " groups of parameters, not 1 or 2"));
  for (const PthValue& group : groups.items) {
    const PthValue* amsgrad = group.find("amsgrad");
    require(!amsgrad || !amsgrad->integer, "its optimiser is AMSGrad");
  }
  std::vector<const Named*> weights;
  for (const Named& t : to.content.tensors)
    if (!t.first.starts_with("ema.")) weights.push_back(&t);
  const auto parameters = numbered(groups, weights);
  std::map<int64_t, const PthValue*> states;
  for (size_t i = 0; i + 1 < state.items.size(); i += 2)
    if (state.items[i].is(Kind::integer)) states[state.items[i].integer] = &state.items[i + 1];
  std::optional<uint64_t> steps;
  std::vector<Named> moments;
  for (const auto& [k, p] : parameters) {
    const auto at = states.find(k);
    require(at != states.end(), cat("its optimiser has no state of ", p->first));
    const uint64_t t = step_of(at->second->find("step"));
    require(!steps || *steps == t, "its parameters have taken different numbers of steps");
    steps = t;
    for (const auto& [key, prefix] :
         {std::pair("exp_avg", "optimizer.m."), std::pair("exp_avg_sq", "optimizer.v.")}) {
      const PthValue* m = at->second->find(key);
      require(m && m->is(Kind::tensor) && m->tensor->shape == p->second.shape,
              cat("its optimiser has no ", key, " of ", p->first, ", or one of another shape"));
      moments.emplace_back(prefix + p->first, m->tensor->stored());
    }
  }
  to.progress = {.optimizer_steps = steps.value_or(0)};
  for (Named& m : moments) to.content.tensors.push_back(std::move(m));
}

// What the file says of how it was trained, as far as this project has it too.
json options_of(const PthValue& checkpoint) {
  json j = json::object();
  auto put = [&](const std::string& name, const PthValue* v) {
    if (!v) return;
    if (v->is(Kind::integer)) j[name] = v->integer;
    if (v->is(Kind::real)) j[name] = v->real;
    if (v->is(Kind::boolean)) j[name] = v->integer != 0;
    if (v->is(Kind::text)) j[name] = v->text;
  };
  if (const PthValue* args = checkpoint.find("args"))
    for (const char* name :
         {"epochs", "batch-size", "opt", "lr", "sched", "warmup-epochs", "warmup-lr", "min-lr",
          "momentum", "clip-grad", "smoothing", "mixup", "cutmix", "mixup-prob",
          "mixup-switch-prob", "reprob", "drop", "drop-path", "model-ema-decay"}) {
      std::string key = name;
      std::replace(key.begin(), key.end(), '-', '_');
      put(name, args->find(key));
    }
  const PthValue* optimizer = checkpoint.find("optimizer");
  const PthValue* groups = optimizer ? optimizer->find("param_groups") : nullptr;
  if (!groups) return j;
  for (const PthValue& group : groups->items) {
    const PthValue* decay = group.find("weight_decay");
    if (decay && decay->is(Kind::real) && decay->real > 0) put("weight-decay", decay);
    put("opt-eps", group.find("eps"));
    const PthValue* betas = group.find("betas");
    if (betas && betas->items.size() == 2 && betas->items[0].is(Kind::real) &&
        betas->items[1].is(Kind::real))
      j["opt-betas"] = {betas->items[0].real, betas->items[1].real};
  }
  return j;
}

}  // namespace

PthTraining read_pth_training(const std::string& path) {
  auto bytes = std::make_shared<const Bytes>(read_file(path));
  const uint64_t size = bytes->size();
  return training_of(read_pth(std::move(bytes), path), size, path);
}

PthTraining training_of(const PthValue& checkpoint, uint64_t size, const std::string& path) {
  PthTraining t;
  t.content = weights_of(checkpoint, size, path);
  if (const PthValue* args = checkpoint.find("args"))
    if (const PthValue* model = args->find("model"); model && model->is(Kind::text))
      t.model = model->text;
  t.options = options_of(checkpoint).dump(-1, ' ', false, json::error_handler_t::replace);
  try {
    const PthValue* optimizer = checkpoint.find("optimizer");
    const PthValue* epoch = checkpoint.find("epoch");
    require(optimizer, "has weights only");
    require(epoch && epoch->is(Kind::integer) && 0 <= epoch->integer && epoch->integer < most,
            "does not say which epoch it is of");
    take_moments(*optimizer, t);
    t.progress->epochs = epoch->integer + 1;  // it is written after that epoch
  } catch (const NotUnderstood& e) {
    t.progress.reset();
    t.no_progress = e.why;
  }
  return t;
}

}  // namespace krait
