// Checkpoints: which tensor goes where, and what a wrong file is called.
#include "engine/checkpoint.h"

#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sys/file.h>
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

bool is_whole(const std::string& path) {
  try {
    read_checkpoint(path);
    return true;
  } catch (const InputError&) {
    return false;
  }
}

void write_checkpoint(const std::vector<std::string>& paths, const SafeTensors& file,
                      const std::string& own) {
  const std::string& path = paths[0];
  // A damaged one must not take the place of a good previous one.
  const bool keep = path == own || is_whole(path);
  try {
    write_safetensors(path, file, [&](const std::string& temporary) {
      for (size_t i = 1; i < paths.size(); ++i)
        if (!give_name(temporary, paths[i])) write_safetensors(paths[i], file);
      const std::string previous = previous_checkpoint(path);
      KRAIT_INPUT(!keep || give_name(path, previous) || rename(path.c_str(), previous.c_str()) == 0,
                  previous, ": cannot be replaced: ", std::strerror(errno));
    });
  } catch (const InputError& e) {
    throw InputError(cat(e.what(), keep ? "; the checkpoint before it is whole" : ""));
  }
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
  writing_ =
      std::async(std::launch::async, [paths, blocks, host = host_, &params, state, own = own_] {
        write_checkpoint(paths, content(blocks, host.get(), params, state), *own);
        *own = paths[0];
      });
}

void CheckpointWriter::finish() {
  if (writing_.valid()) writing_.get();
}

void CheckpointWriter::check() {
  if (writing_.valid() && writing_.wait_for(std::chrono::seconds(0)) == std::future_status::ready)
    writing_.get();
}

std::string previous_checkpoint(const std::string& path) {
  const size_t name = path.rfind('/') + 1;  // 0 if there is no folder
  return path.substr(0, name) + "previous_" + path.substr(name);
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

Checkpoint read_checkpoint_or_previous(const std::string& path, std::string& warning) {
  try {
    return read_checkpoint(path);
  } catch (const InputError& e) {
    const std::string previous = previous_checkpoint(path);
    if (access(previous.c_str(), F_OK) != 0) throw;
    warning = cat(e.what(), "; going on from ", previous);
    try {
      return read_checkpoint(previous);
    } catch (const InputError& second) {
      throw InputError(cat(e.what(), "; and ", second.what()));
    }
  }
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

std::unique_ptr<File> take_output_folder(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  KRAIT_INPUT(std::filesystem::is_directory(folder), "output folder ", folder,
              ": cannot be made: ", error ? error.message() : "there is a file of that name");
  // A lock that was left may be there in a folder that cannot be written to any more.
  const std::string name = folder + "/.lock";
  auto lock = std::make_unique<File>(open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  KRAIT_INPUT(lock->fd() >= 0 && access(folder.c_str(), W_OK) == 0, "output folder ", folder,
              ": cannot be written to: ", std::strerror(errno));
  // The lock goes with the process, however that ends. A file system without locks keeps nobody
  // out.
  if (flock(lock->fd(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    char owner[200] = {};
    const ssize_t n = read(lock->fd(), owner, sizeof owner - 1);
    throw InputError(cat("output folder ", folder, ": another training writes to it",
                         n > 0 ? cat(" (", printable(owner), ")") : ""));
  }
  char host[100] = {};
  gethostname(host, sizeof host - 1);
  const std::string owner = cat("process ", getpid(), " on ", host);
  if (ftruncate(lock->fd(), 0) == 0) lock->write_all(owner.data(), owner.size());
  return lock;
}

}  // namespace krait
