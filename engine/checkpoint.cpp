// Checkpoints: which tensor goes where, and what a wrong file is called.
#include "engine/checkpoint.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <unistd.h>
#include <unordered_map>

#include "engine/io/pth_training.h"

namespace krait {
namespace {

using nlohmann::json;
using Role = ParamStore::Role;

constexpr const char* format_name = "krait 1";

struct Stored {
  Role role;
  const char* prefix;
};
constexpr Stored stored_roles[] = {{Role::master, ""},
                                   {Role::moment1, "optimizer.m."},
                                   {Role::moment2, "optimizer.v."},
                                   {Role::ema, "ema."}};

std::vector<int64_t> dims(const Shape& s) {
  return {s.dim.begin(), s.dim.begin() + s.rank};
}

using Index = std::unordered_map<std::string, const StoredTensor*>;

// Is it a weight? Not so the optimiser's tensors, the average, and the published model's rotation
// tables, which follow from its sizes.
bool is_weight(const std::string& name) {
  return !name.starts_with("optimizer.") && !name.starts_with("ema.") && name != "rope.freqs_cos" &&
         name != "rope.freqs_sin";
}

// Compares the weights' names and shapes with the model's.
void check_same_model(const Checkpoint& from, const Index& file, const ParamStore& params) {
  constexpr int shown = 2;
  int differ = 0, matched = 0;
  std::string first;
  auto note = [&](const std::string& what) {
    if (differ++ < shown) first += (first.empty() ? "" : "; ") + what;
  };
  for (const Param& p : params.all()) {
    const auto at = file.find(p.name);
    if (at == file.end()) {
      note(cat(p.name, " ", p.shape, " is not in the file"));
      continue;
    }
    ++matched;
    if (at->second->shape != dims(p.shape))
      note(cat(p.name, " is ", shape_text(at->second->shape), " in the file and ", p.shape,
               " in this model"));
  }
  KRAIT_INPUT(matched, from.path, ": is not a checkpoint: none of this model's ",
              params.all().size(), " parameters is in it");
  for (const auto& [name, t] : from.content.tensors)
    if (is_weight(name) && !params.find(name))
      note(cat(name, " ", shape_text(t.shape), " is not in this model"));
  const std::string other = from.state ? from.state->model : "";
  KRAIT_INPUT(!differ, from.path, ": is of another model", other.empty() ? "" : " (", other,
              other.empty() ? ": " : "): ", first, "; ", differ,
              differ == 1 ? " name differs" : " names differ");
}

// One block from the file's tensors `prefix` + name.
void load_block(Context& ctx, const Index& file, const ParamStore& params, const char* prefix,
                const Tensor& to) {
  dispatch_float(to.dtype(), [&]<class T>() {
    std::vector<T> all(params.total(), T(0.0f));
    for (const Param& p : params.all()) {
      const std::vector<double> values = file.at(prefix + p.name)->values();
      for (size_t i = 0; i < values.size(); ++i)
        all[p.offset + i] = T(static_cast<accum_t<T>>(values[i]));
    }
    ctx.upload(to, all.data(), all.size() * sizeof(T));
  });
}

std::string progress_text(const TrainState& s) {
  return json{{"step", s.step},
              {"seed", s.seed},
              {"epoch", s.epoch},
              {"step_in_epoch", s.step_in_epoch},
              {"epoch_totals",
               {{"loss", s.epoch_totals.loss},
                {"count", s.epoch_totals.count},
                {"top1", s.epoch_totals.top1},
                {"top5", s.epoch_totals.top5}}},
              {"best_acc1", s.best_acc1},
              {"best_epoch", s.best_epoch},
              {"seconds", s.seconds},
              {"epoch_seconds", s.epoch_seconds},
              {"optimizer_ahead", s.optimizer_ahead}}
      .dump();
}

void read_progress(const std::string& text, TrainState& s) {
  const json j = json::parse(text);
  s.step = j.at("step");
  s.seed = j.at("seed");
  s.epoch = j.at("epoch");
  s.step_in_epoch = j.at("step_in_epoch");
  const json& totals = j.at("epoch_totals");
  s.epoch_totals = {.loss = totals.at("loss"),
                    .count = totals.at("count"),
                    .top1 = totals.at("top1"),
                    .top5 = totals.at("top5")};
  s.best_acc1 = j.at("best_acc1");
  s.best_epoch = j.at("best_epoch");
  s.seconds = j.at("seconds");
  s.epoch_seconds = j.at("epoch_seconds");
  s.optimizer_ahead = j.value("optimizer_ahead", int64_t{0});  // not in older files
}

// A flat block in host memory.
struct Block {
  const char* prefix;  // of its tensors' names
  DType dtype;
  size_t at;  // its first byte
};

SafeTensors content(const std::vector<Block>& blocks, const std::byte* host,
                    const ParamStore& params, const TrainState& state) {
  SafeTensors file;
  file.metadata = {{"format", format_name},
                   {"model", state.model},
                   {"config", state.config},
                   {"options", state.options},
                   {"progress", progress_text(state)}};
  if (!state.pictures.empty()) file.metadata["pictures"] = state.pictures;
  for (const Block& b : blocks) {
    const size_t size = size_of(b.dtype);
    for (const Param& p : params.all())
      file.tensors.emplace_back(
          b.prefix + p.name,
          StoredTensor::raw(b.dtype == DType::f64 ? "F64" : "F32", dims(p.shape),
                            host + b.at + p.offset * size, p.shape.count() * size));
  }
  return file;
}

// Gives the file a second name, replacing what had it. False where the folder cannot do that.
bool give_name(const std::string& file, const std::string& name) {
  const std::string temporary = name + ".tmp";
  unlink(temporary.c_str());
  if (link(file.c_str(), temporary.c_str()) != 0) return false;
  if (rename(temporary.c_str(), name.c_str()) == 0) return true;
  unlink(temporary.c_str());  // or whoever writes to it would write to the file
  return false;
}

}  // namespace

bool Checkpoint::has_ema() const {
  for (const auto& [name, t] : content.tensors)
    if (name.starts_with("ema.")) return true;
  return false;
}

void CheckpointWriter::save(Context& ctx, const std::vector<std::string>& paths,
                            const ParamStore& params, const TrainState& state) {
  finish();
  std::vector<Block> blocks;
  size_t bytes = 0;
  for (const auto& [role, prefix] : stored_roles) {
    const Tensor& block = params.flat(role);
    if (!block) continue;
    blocks.push_back({prefix, block.dtype(), bytes});
    bytes += block.count() * size_of(block.dtype());
  }
  if (host_bytes_ != bytes) {
    host_ = pinned_memory(ctx.device().backend, bytes);
    host_bytes_ = bytes;
  }
  size_t k = 0;
  for (const auto& [role, prefix] : stored_roles)
    if (const Tensor& block = params.flat(role))
      ctx.download(host_.get() + blocks[k++].at, block, block.count() * size_of(block.dtype()));
  writing_ = std::async(std::launch::async, [paths, blocks, host = host_, &params, state] {
    const SafeTensors file = content(blocks, host.get(), params, state);
    write_safetensors(paths[0], file);
    for (size_t i = 1; i < paths.size(); ++i)
      if (!give_name(paths[0], paths[i])) write_safetensors(paths[i], file);
  });
}

void CheckpointWriter::finish() {
  if (writing_.valid()) writing_.get();
}

void save_checkpoint(Context& ctx, const std::string& path, const ParamStore& params,
                     const TrainState& state) {
  CheckpointWriter writer;
  writer.save(ctx, {path}, params, state);
  writer.finish();
}

// Of a trainer of the PyTorch world.
static Checkpoint read_foreign(const std::string& path) {
  PthTraining t = read_pth_training(path);
  Checkpoint c{.path = path,
               .content = std::move(t.content),
               .state = {},
               .foreign = {},
               .no_state = t.no_progress};
  if (!t.progress) return c;
  c.foreign.emplace();
  c.foreign->epoch = t.progress->epochs;
  c.foreign->step = t.progress->optimizer_steps;
  c.foreign->model = t.model;
  c.foreign->options = t.options;
  return c;
}

Checkpoint read_checkpoint(const std::string& path) {
  if (is_pth(path)) return read_foreign(path);
  Checkpoint c{.path = path,
               .content = read_safetensors(path),
               .state = {},
               .foreign = {},
               .no_state = "has weights only"};
  const auto& meta = c.content.metadata;
  const auto format = meta.find("format");
  // Other programs write "pt" here.
  if (format == meta.end() || !format->second.starts_with("krait")) return c;
  KRAIT_INPUT(format->second == format_name, path, ": is of format \"", format->second,
              "\", this program reads \"", format_name, "\"");
  try {
    TrainState s;
    s.model = meta.at("model");
    s.config = meta.at("config");
    s.options = meta.at("options");
    read_progress(meta.at("progress"), s);
    if (const auto pictures = meta.find("pictures"); pictures != meta.end())
      s.pictures = pictures->second;
    c.state = s;
  } catch (const std::exception&) {  // a key that is missing, or of the wrong type
    throw InputError(cat(path, ": is damaged: where the training stood cannot be read"));
  }
  return c;
}

void load_checkpoint(Context& ctx, const Checkpoint& from, ParamStore& params, bool resume) {
  KRAIT_INPUT(!resume || from.state || from.foreign, from.path, ": ", from.no_state,
              ", so a training cannot go on from it");
  Index file;
  for (const auto& [name, t] : from.content.tensors) file[name] = &t;
  check_same_model(from, file, params);
  const bool ema = from.has_ema();
  std::vector<Stored> wanted;
  for (const Stored& s : stored_roles) {
    if (!params.flat(s.role)) continue;
    const bool moment = s.role == Role::moment1 || s.role == Role::moment2;
    if (moment && !resume) continue;
    Stored from_file = s;
    if (s.role == Role::ema && !ema) from_file.prefix = "";
    wanted.push_back(from_file);
    for (const Param& p : params.all()) {
      const std::string name = from_file.prefix + p.name;
      const auto at = file.find(name);
      KRAIT_INPUT(at != file.end() && at->second->shape == dims(p.shape), from.path,
                  ": is damaged: ", name, " ", p.shape,
                  at == file.end() ? " is not in it" : " has another shape");
      KRAIT_INPUT(at->second->numeric(), from.path, ": ", name, " is of type ", at->second->dtype,
                  ", which cannot be loaded");
    }
  }
  for (const Stored& s : wanted) load_block(ctx, file, params, s.prefix, params.flat(s.role));
  params.refresh_copy(ctx);
}

void make_output_folder(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  KRAIT_INPUT(std::filesystem::is_directory(folder), "output folder ", folder,
              ": cannot be made: ", error ? error.message() : "there is a file of that name");
  const std::string trial = folder + "/.krait_trial";
  const int fd = open(trial.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  KRAIT_INPUT(fd >= 0, "output folder ", folder, ": cannot be written to: ", std::strerror(errno));
  close(fd);
  unlink(trial.c_str());
}

}  // namespace krait
