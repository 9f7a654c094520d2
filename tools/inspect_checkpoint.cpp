// inspect_checkpoint FILE: what is in a checkpoint, and which model it is of. Reads .pth,
// safetensors and this project's own, and converts them into each other.
#include <CLI/CLI.hpp>
#include <cmath>
#include <fmt/format.h>
#include <iostream>
#include <nlohmann/json.hpp>

#include "engine/checkpoint.h"
#include "engine/io/state_dict.h"
#include "models/model.h"
#include "models/vim/identify.h"
#include "models/vit/identify.h"

namespace krait {
namespace {

using json = nlohmann::ordered_json;
using Kind = PthValue::Kind;
using Tensors = std::vector<std::pair<std::string, StoredTensor>>;

// A file, taken apart.
struct Content {
  std::string format;
  uint64_t bytes = 0;
  std::string where, average_where;  // of the weights: "model", ...
  Tensors weights, average;          // the model's own names
  Tensors others;                    // moments, schedules, ...
  json rest = json::object();        // what is no tensor
  std::string stated_name;           // what the file says that it is
  std::optional<ModelConfig> own;    // the configuration in a checkpoint of this project
  std::string pictures;              // class names and preparation, as JSON, if it says so
};

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("({})", fmt::join(shape, ", "));
}

// Values that are no tensors as JSON; tensors go to `tensors` under their path.
json plain(const PthValue& v, const std::string& path, const Content& c, uint64_t& left,
           Tensors& tensors) {
  auto under = [&](const std::string& key) { return path.empty() ? key : path + "." + key; };
  switch (v.kind) {
    case Kind::none:
      return nullptr;
    case Kind::boolean:
      return v.integer != 0;
    case Kind::integer:
      return v.integer;
    case Kind::real:
      return v.real;
    case Kind::text:
      return v.text;
    case Kind::bytes:
      return fmt::format("{} bytes", v.text.size());
    case Kind::tensor: {
      const auto bytes = static_cast<uint64_t>(v.tensor->bytes());
      KRAIT_INPUT(bytes <= left, "its tensors need far more memory than its size");
      left -= bytes;
      tensors.emplace_back(path, v.tensor->stored());
      return nullptr;
    }
    case Kind::list:
    case Kind::tuple:
    case Kind::set: {
      json all = json::array();
      for (size_t i = 0; i < v.items.size(); ++i)
        all.push_back(plain(v.items[i], under(cat(i)), c, left, tensors));
      return all;
    }
    case Kind::dict:
    case Kind::object:
      break;
  }
  json all = json::object();
  for (size_t i = 0; i + 1 < v.items.size(); i += 2) {
    const PthValue& key = v.items[i];
    const std::string name = key.is(Kind::text)      ? key.text
                             : key.is(Kind::integer) ? cat(key.integer)
                                                     : cat("key ", i / 2);
    if (path.empty() && !c.where.empty() && (name == c.where || name == c.average_where))
      continue;  // listed as weights
    json value = plain(v.items[i + 1], under(name), c, left, tensors);
    const bool only_tensors = v.items[i + 1].is(Kind::tensor) ||
                              (value.is_object() && value.empty() && !v.items[i + 1].items.empty());
    if (!only_tensors) all[name] = std::move(value);
  }
  return all;
}

void read_pytorch(const std::string& path, Content& c) {
  auto bytes = std::make_shared<const Bytes>(read_file(path));
  c.bytes = bytes->size();
  c.format = (*bytes)[0] == std::byte{'P'} ? "PyTorch, zip" : "PyTorch, before 1.6";
  const PthValue file = read_pth(std::move(bytes), path);
  const StateDict weights = find_state_dict(file, false), average = find_state_dict(file, true);
  if (weights.dict) c.weights = tensors_of(*weights.dict, c.bytes, path).tensors;
  if (average.dict) c.average = tensors_of(*average.dict, c.bytes, path).tensors;
  c.where = weights.key;
  c.average_where = average.key;
  if (weights.dict == &file) return;
  if (const PthValue* text = file.find("pictures"); text && text->is(Kind::text))
    c.pictures = text->text;
  uint64_t left = pth_budget(c.bytes);
  c.rest = plain(file, "", c, left, c.others);
  if (const PthValue* args = file.find("args"))
    if (const PthValue* name = args->find("model"); name && name->is(Kind::text))
      c.stated_name = name->text;
}

void read_safe(const std::string& path, Content& c) {
  Checkpoint file = read_checkpoint(path);
  const File opened(open_to_read(path, c.bytes));
  c.format = file.state ? "krait" : "safetensors";
  for (auto& [name, t] : file.content.tensors) {
    if (file.state && name.starts_with("ema."))
      c.average.emplace_back(name.substr(4), std::move(t));
    else if (file.state && name.starts_with("optimizer."))
      c.others.emplace_back(name, std::move(t));
    else
      c.weights.emplace_back(name, std::move(t));
  }
  if (const auto it = file.content.metadata.find("pictures"); it != file.content.metadata.end())
    c.pictures = it->second;
  for (const auto& [key, value] : file.content.metadata) {
    const json parsed = json::parse(value, nullptr, false);
    c.rest[key] = parsed.is_discarded() ? json(value) : parsed;
  }
  if (file.state) {
    c.stated_name = file.state->model;
    if (!file.state->config.empty()) c.own = model_config_from_json(file.state->config);
  }
}

struct Statistics {
  double low = INFINITY, high = -INFINITY, mean = 0, deviation = 0;  // of the finite values
  int64_t not_finite = 0;
  bool known = false;
};
Statistics statistics(const StoredTensor& t) {
  Statistics s;
  if (!t.numeric()) return s;
  const std::vector<double> values = t.values();
  int64_t n = 0;
  double sum = 0, squares = 0;
  for (const double v : values) {
    if (!std::isfinite(v)) {
      ++s.not_finite;
      continue;
    }
    s.low = std::min(s.low, v);
    s.high = std::max(s.high, v);
    sum += v;
    ++n;
  }
  if (n) s.mean = sum / static_cast<double>(n);
  for (const double v : values)
    if (std::isfinite(v)) squares += (v - s.mean) * (v - s.mean);
  if (n) s.deviation = std::sqrt(squares / static_cast<double>(n));
  s.known = n > 0;
  return s;
}

int64_t total(const Tensors& tensors) {
  int64_t n = 0;
  for (const auto& [name, t] : tensors) n += t.count();
  return n;
}
// Without the tables that follow from the model's size.
int64_t parameters(const Tensors& weights) {
  int64_t n = 0;
  for (const auto& [name, t] : weights)
    if (!name.starts_with("rope.freqs_")) n += t.count();
  return n;
}

void print_table(const std::string& title, const Tensors& tensors) {
  if (tensors.empty()) return;
  size_t width = 4;
  for (const auto& [name, t] : tensors) width = std::max(width, printable(name).size());
  fmt::print("\n{}: {} tensors, {} values\n", title, tensors.size(), total(tensors));
  fmt::print("  {:{}}  {:>18}  {:>8} {:>11} {:>11} {:>11} {:>11} {:>10}\n", "name", width, "shape",
             "type", "min", "max", "mean", "std", "not finite");
  for (const auto& [name, t] : tensors) {
    const Statistics s = statistics(t);
    fmt::print("  {:{}}  {:>18}  {:>8}", printable(name), width, shape_text(t.shape), t.dtype);
    if (s.known)
      fmt::print(" {:11.4g} {:11.4g} {:11.4g} {:11.4g}", s.low, s.high, s.mean, s.deviation);
    else
      fmt::print(" {:>11} {:>11} {:>11} {:>11}", "-", "-", "-", "-");
    fmt::print(" {:>10}\n", s.not_finite);
  }
}

// "optimizer.state.0.exp_avg" and its like, summed up by their first name.
void print_sums(const Tensors& tensors) {
  std::map<std::string, std::pair<int64_t, int64_t>> sums;
  for (const auto& [name, t] : tensors) {
    auto& [count, values] = sums[name.substr(0, name.find('.'))];
    ++count;
    values += t.count();
  }
  for (const auto& [name, sum] : sums)
    fmt::print("\n{}: {} tensors, {} values (--all lists them)\n", printable(name), sum.first,
               sum.second);
}

void print_rest(const json& rest, const std::string& path) {
  for (const auto& [key, value] : rest.items()) {
    const std::string name = path.empty() ? key : path + "." + key;
    const bool groups = value.is_array() && !value.empty() && value[0].is_object();
    if (groups)  // as the optimiser's
      for (size_t i = 0; i < value.size(); ++i) print_rest({{cat(i), value[i]}}, name);
    else if (value.is_object() && !value.empty())
      print_rest(value, name);
    if (groups || (value.is_object() && !value.empty())) continue;
    std::string text = value.is_string()
                           ? value.get<std::string>()
                           : value.dump(-1, ' ', false, json::error_handler_t::replace);
    fmt::print("  {:32}  {}\n", printable(name), printable(text));
  }
}

// What the weights are of.
struct Model {
  std::optional<VimIdentity> vim;
  std::optional<VitIdentity> vit;
  std::string other;  // why it is neither, if it looks like one
};
Model identify(const Content& c) {
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const auto& [name, t] : c.weights) shapes[name] = t.shape;
  Model m;
  std::string near_vim, near_vit;
  m.vim = identify_vim(shapes, near_vim);
  m.vit = identify_vit(shapes, near_vit);
  auto settle = [&]<class Config>(auto& identity, const Config* own) {
    if (!identity || !own) return;
    identity->config = *own;
    identity->assumed.clear();
  };
  settle(m.vim, c.own ? std::get_if<VimConfig>(&*c.own) : nullptr);
  settle(m.vit, c.own ? std::get_if<VitConfig>(&*c.own) : nullptr);
  if (!near_vim.empty()) m.other = "nearly a Vision Mamba, but " + near_vim;
  if (!near_vit.empty()) m.other = "nearly timm's VisionTransformer, but " + near_vit;
  return m;
}

// What follows the line that says which model it is.
void print_names(const std::vector<std::string>& assumed, const std::vector<std::string>& names) {
  if (!assumed.empty())
    fmt::print("       not to be seen from shapes, assumed: {}\n", fmt::join(assumed, ", "));
  for (const std::string& name : names) fmt::print("       has the shapes of {}\n", name);
  if (names.empty()) fmt::print("       has the shapes of no model with a name\n");
}

void print_vim(const VimIdentity& id) {
  const VimConfig& v = id.config;
  fmt::print(
      "model: Vision Mamba, bimamba {}: {} layers, width {}, inner {}, {} states, dt of rank "
      "{}\n       {} px, patches of {} every {}, {} tokens{}{}, {}, {} classes\n",
      v.bimamba_type, v.depth, v.embed_dim, v.inner(), v.d_state, v.rank(), v.img_size,
      v.patch_size, v.stride, v.tokens(),
      !v.if_cls_token          ? ""
      : v.use_double_cls_token ? ", two class tokens"
      : v.use_middle_cls_token ? ", class token in the middle"
                               : ", class token first",
      v.if_rope ? ", RoPE" : "", v.rms_norm ? "RMS norm" : "layer norm", v.num_classes);
  print_names(id.assumed, id.names);
}
void print_vit(const VitIdentity& id) {
  const VitConfig& v = id.config;
  fmt::print(
      "model: timm's VisionTransformer: {} blocks, width {}, {} heads, MLP of {}\n       {} px, "
      "patches of {}, {} tokens{}, pool {}{}, {} classes\n",
      v.depth, v.embed_dim, v.num_heads, v.hidden(), v.img_size, v.patch_size, v.tokens(),
      v.class_token ? ", class token first" : "", v.global_pool,
      v.init_values ? ", layer scale" : "", v.num_classes);
  print_names(id.assumed, id.names);
}

void print_model(const Content& c, const Model& m) {
  if (!c.stated_name.empty()) fmt::print("the file says: {}\n", printable(c.stated_name));
  if (m.vim) print_vim(*m.vim);
  if (m.vit) print_vit(*m.vit);
  if (!m.vim && !m.vit) fmt::print("model: {}\n", m.other.empty() ? "not one known here" : m.other);
  fmt::print("parameters: {}\n", parameters(c.weights));
  if (m.vim || m.vit)
    fmt::print("FLOPs per picture, forward: {:.4g}\n",
               m.vim ? vim_flops(m.vim->config) : vit_flops(m.vit->config));
}

json tensors_json(const Tensors& tensors) {
  json all = json::array();
  for (const auto& [name, t] : tensors) {
    const Statistics s = statistics(t);
    json j = {{"name", name}, {"shape", t.shape}, {"type", t.dtype}};
    if (s.known)
      j.update({{"min", s.low}, {"max", s.high}, {"mean", s.mean}, {"std", s.deviation}});
    j["not_finite"] = s.not_finite;
    all.push_back(j);
  }
  return all;
}
void print_json(const std::string& path, const Content& c, const Model& m) {
  json j = {{"file", path}, {"format", c.format}, {"bytes", c.bytes}};
  if (!c.stated_name.empty()) j["stated_model"] = c.stated_name;
  json model = nullptr;
  auto describe = [&](const char* architecture, const auto& id, double flops) {
    model = {{"architecture", architecture},
             {"config", json::parse(to_json(id.config))},
             {"names", id.names},
             {"assumed", id.assumed},
             {"flops", flops}};
  };
  if (m.vim)
    describe("vim", *m.vim, vim_flops(m.vim->config));
  else if (m.vit)
    describe("vit", *m.vit, vit_flops(m.vit->config));
  else if (!m.other.empty())
    model = m.other;
  j["model"] = model;
  j["parameters"] = parameters(c.weights);
  j["weights"] = tensors_json(c.weights);
  j["average"] = tensors_json(c.average);
  j["other_tensors"] = tensors_json(c.others);
  j["other"] = c.rest;
  std::cout << j.dump(2, ' ', false, json::error_handler_t::replace) << "\n";
}

// Published models have their rotation tables as buffers, which load_state_dict(strict=True) wants.
void add_rope_tables(const Model& m, Tensors& weights) {
  if (!m.vim || !m.vim->config.if_rope) return;
  for (const auto& [name, t] : weights)
    if (name == "rope.freqs_cos") return;
  Context ctx(Backend::cpu);
  const RopeTable table = rope_table(ctx, m.vim->config, DType::f32);
  for (const auto& [name, t] :
       {std::pair("rope.freqs_cos", table.cos), {"rope.freqs_sin", table.sin}})
    weights.emplace_back(name, StoredTensor::f32({t.shape(0), t.shape(1)}, ctx.values(t)));
}

void convert(Content c, Model m, const std::string& to, bool use_average) {
  KRAIT_INPUT(!c.weights.empty(), "there are no weights to convert");
  KRAIT_INPUT(!use_average || !c.average.empty(), "there is no average (EMA) to convert");
  if (use_average) c.weights = std::move(c.average), c.average.clear();
  add_rope_tables(m, c.weights);
  if (!c.average.empty()) add_rope_tables(m, c.average);
  if (to.ends_with(".safetensors")) {
    SafeTensors out;
    out.metadata["format"] = "pt";  // as PyTorch's programs expect
    if (!c.pictures.empty()) out.metadata["pictures"] = c.pictures;
    out.tensors = std::move(c.weights);
    write_safetensors(to, out);
    return;
  }
  KRAIT_INPUT(to.ends_with(".pth") || to.ends_with(".pt"), to,
              ": --convert writes .safetensors, .pth or .pt");
  auto state_dict = [](Tensors& tensors) {
    PthValue d = PthValue::dict();
    for (auto& [name, t] : tensors) d.add(name, PthValue::of(std::move(t)));
    return d;
  };
  PthValue out = PthValue::dict();
  out.add("model", state_dict(c.weights));
  if (!c.average.empty()) out.add("model_ema", state_dict(c.average));
  if (!c.pictures.empty()) out.add("pictures", PthValue::of(c.pictures));
  write_pth(to, out);
}

int inspect(int argc, char** argv) {
  std::string path, to;
  bool as_json = false, all = false, use_average = false;
  CLI::App app("Shows what is in a checkpoint (.pth, .safetensors) and which model it is of.",
               "inspect_checkpoint");
  app.add_option("FILE", path, "a checkpoint")->required();
  app.add_flag("--json", as_json, "everything as JSON");
  app.add_flag("--all", all, "list the tensors of the optimiser and the average too");
  app.add_option("--convert", to,
                 "write the weights to a .safetensors file, or to a .pth file as {'model': ...}, "
                 "with the RoPE tables that the published class has as buffers");
  app.add_flag("--average", use_average, "--convert takes the average (EMA) for the weights");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  Content c;
  if (is_pth(path))
    read_pytorch(path, c);
  else
    read_safe(path, c);
  const Model m = identify(c);
  if (as_json) {
    print_json(path, c, m);
  } else {
    fmt::print("{}: {}, {} bytes\n", path, c.format, c.bytes);
    if (!c.weights.empty()) print_model(c, m);
    if (!c.rest.empty()) fmt::print("\nOther values\n");
    print_rest(c.rest, "");
    print_table(c.where.empty() ? "Weights" : cat("Weights (", c.where, ")"), c.weights);
    if (all) {
      print_table("Average of the weights", c.average);
      print_table("Other tensors", c.others);
    } else {
      if (!c.average.empty())
        fmt::print("\nAverage of the weights: {} tensors, {} values (--all lists them)\n",
                   c.average.size(), total(c.average));
      print_sums(c.others);
    }
  }
  if (!to.empty()) convert(std::move(c), m, to, use_average);
  return 0;
}

}  // namespace
}  // namespace krait

int main(int argc, char** argv) try {
  return krait::inspect(argc, argv);
} catch (const krait::InputError& e) {
  fmt::print(stderr, "inspect_checkpoint: {}\n", e.what());
  return 2;
} catch (const std::exception& e) {
  fmt::print(stderr, "inspect_checkpoint: {}\n", e.what());
  return 1;
}
