// The tool inspect_checkpoint, as a user runs it; and telling a model from its shapes.
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>
#include <sys/wait.h>

#include "engine/io/state_dict.h"
#include "models/vim/identify.h"
#include "tests/files.h"
#include "tests/vim_model.h"

using namespace krait;

namespace {

const std::string checkpoints = KRAIT_SOURCE_DIR "/tests/golden/checkpoints/";

struct Result {
  int code;
  std::string out, err;
};
Result inspect(const TemporaryFolder& folder, const std::string& arguments) {
  const std::string out = folder / "out", err = folder / "err";
  const int status = std::system(
      cat(KRAIT_BIN_DIR "/inspect_checkpoint ", arguments, " >", out, " 2>", err).c_str());
  return {WEXITSTATUS(status), file_content(out), file_content(err)};
}

std::map<std::string, std::vector<int64_t>> shapes(const VimConfig& c) {
  std::map<std::string, std::vector<int64_t>> all;
  const ParamStore store = declared(c);
  for (const Param& p : store.all())
    all[p.name] = {p.shape.dim.begin(), p.shape.dim.begin() + p.shape.rank};
  if (c.if_rope) all["rope.freqs_cos"] = all["rope.freqs_sin"] = {c.patches(), c.embed_dim};
  return all;
}

}  // namespace

TEST_CASE("identify: every model with a name, whatever its classes") {
  for (const NamedModel& named : vim_names()) {
    CAPTURE(named.name);
    VimConfig c = vim_config(named.name);
    c.num_classes = 37;
    std::string why;
    const auto id = identify_vim(shapes(c), why);
    CHECK(why == "");
    REQUIRE(id);
    CHECK(std::set(id->names.begin(), id->names.end()).count(named.name));
    VimConfig found = id->config;
    CHECK(found.dt_rank == c.rank());
    found.dt_rank = c.dt_rank;
    CHECK(to_json(found) == to_json(c));
  }
}

TEST_CASE("identify: switches that shapes show, and what is no Vision Mamba") {
  std::string why;
  VimConfig c = small();
  c.bimamba_type = "v1";
  c.rms_norm = false;
  c.bias = true;
  c.init_layer_scale = 0.5;
  c.if_cls_token = c.use_double_cls_token = true;
  const auto id = identify_vim(shapes(c), why);
  REQUIRE(id);
  CHECK(id->names.empty());
  CHECK(id->config.bimamba_type == "v1");
  CHECK(!id->config.rms_norm);
  CHECK(id->config.bias);
  CHECK(id->config.use_double_cls_token);
  auto changed = shapes(c);
  changed["layers.1.mixer.D"] = {17};
  CHECK(!identify_vim(changed, why));
  CHECK(why == "layers.1.mixer.D is (17), not (16)");
  changed = shapes(c);
  changed.erase("norm_f.weight");
  CHECK(!identify_vim(changed, why));
  CHECK(why == "there is no norm_f.weight");
  changed["patch_embed.proj.weight"] = {int64_t{1} << 40, 3, 4, 4};
  CHECK(!identify_vim(changed, why));
  CHECK(!identify_vim({{"a", {1}}}, why));
  CHECK(why == "");
}

TEST_CASE("identify: the count of operations") {
  VimConfig c = small();  // 4 tokens, width 8, inner 16, 3 states, rank 1, 4 taps, 2 layers
  const double layer =
      2 * 4 * 8 * 32 + 2 * 4 * 16 * 8 + 2 * (2 * 4 * 16 * (4 + 7 + 1)) + 2 * 9 * 4 * 16 * 3;
  CHECK(vim_flops(c) == 2 * 4 * 48 * 8 + 2 * layer + 2 * 8 * 3);
  // Convolutions: 8 x 8 pixels, 3 -> 5 channels; 4 x 4, 5 -> 8, two blocks; to the 4 tokens.
  c.stem = "conv", c.stem_width = 5, c.stem_depth = 2;
  const double stem = 2 * 9 * (64 * 3 * 5 + 16 * 5 * 8 + 2 * 2 * 16 * 8 * 8 + 4 * 8 * 8);
  CHECK(vim_flops(c) == stem + 2 * layer + 2 * 8 * 3);
  c.mixer_conv = "2d", c.d_conv = 3;  // 9 taps rather than 4
  CHECK(vim_flops(c) == stem + 2 * layer + 2 * 2 * (2 * 4 * 16 * (9 - 4)) + 2 * 8 * 3);
}

TEST_CASE("inspect_checkpoint: a training checkpoint, as text and as JSON") {
  const TemporaryFolder folder;
  const Result text = inspect(folder, checkpoints + "checkpoint_training.pth");
  CHECK(text.code == 0);
  for (const char* part :
       {"PyTorch, zip", "Vision Mamba, bimamba v2: 2 layers, width 32", "parameters: 31434",
        "args.batch_size", "optimizer.param_groups.0.weight_decay", "layers.1.mixer.A_b_log"}) {
    CAPTURE(part);
    CHECK(text.out.find(part) != std::string::npos);
  }
  const Result r = inspect(folder, checkpoints + "checkpoint_training.pth --json");
  const auto j = nlohmann::json::parse(r.out);
  CHECK(j["other"]["args"]["lr"] == 0.0005);
  CHECK(j["other"]["epoch"] == 7);
  CHECK(j["model"]["config"]["if_rope"] == true);
  CHECK(j["weights"].size() == 42);
  CHECK(j["average"].size() == 42);
  CHECK(j["other_tensors"].size() == 3 * 40);
  for (const auto& t : j["weights"])
    if (t["name"] == "head.bias")
      CHECK(t["max"].get<double>() == doctest::Approx(0.2813).epsilon(1e-3));
}

TEST_CASE("inspect_checkpoint: conversions keep every value, and add RoPE's tables") {
  const TemporaryFolder folder;
  const std::string from = checkpoints + "checkpoint_training.pth";
  CHECK(inspect(folder, cat(from, " --convert ", folder / "a.safetensors")).code == 0);
  CHECK(inspect(folder, cat(folder / "a.safetensors", " --convert ", folder / "b.pth")).code == 0);
  const SafeTensors before = read_pth_weights(from), after = read_pth_weights(folder / "b.pth");
  CHECK(after.tensors.size() == 42);
  for (const auto& [name, t] : after.tensors) CHECK(before.at(name).bytes == t.bytes);

  // Without the tables the shapes alone do not say RoPE; a checkpoint of our own does.
  SafeTensors own = read_safetensors(folder / "a.safetensors");
  std::erase_if(own.tensors, [](const auto& t) { return t.first.starts_with("rope."); });
  own.metadata = {
      {"format", "krait 1"},
      {"model", "mine"},
      {"options", "{}"},
      {"config", read_safetensors(checkpoints + "checkpoint_training_expected.safetensors")
                     .metadata.at("config")},
      {"progress", R"({"step":1,"seed":2,"epoch":3,"step_in_epoch":0,"epoch_totals":{"loss":0,)"
                   R"("count":0,"top1":0,"top5":0},"best_acc1":0,"best_epoch":0,"seconds":0,)"
                   R"("epoch_seconds":0})"}};
  write_safetensors(folder / "own.safetensors", own);
  CHECK(inspect(folder, cat(folder / "own.safetensors", " --convert ", folder / "c.pth")).code ==
        0);
  const SafeTensors tables = read_pth_weights(folder / "c.pth");
  CHECK(tables.tensors.size() == 42);
  for (const char* name : {"rope.freqs_cos", "rope.freqs_sin"}) {
    const auto a = before.at(name).values(), b = tables.at(name).values();
    REQUIRE(a.size() == b.size());
    for (size_t i = 0; i < a.size(); ++i)
      CHECK(a[i] == doctest::Approx(b[i]).epsilon(1e-5).scale(1));
  }
}

TEST_CASE("inspect_checkpoint: one line and exit code 2 for a file it cannot read") {
  const TemporaryFolder folder;
  std::ofstream(folder / "text") << "This is no checkpoint.";
  std::ofstream(folder / "empty");
  for (const std::string& file : {folder / "text", folder / "empty", folder / "absent",
                                  folder.path.string(), std::string(KRAIT_BIN_DIR "/parity")}) {
    CAPTURE(file);
    const Result r = inspect(folder, file);
    CHECK(r.code == 2);
    CHECK(r.out.empty());
    CHECK(std::count(r.err.begin(), r.err.end(), '\n') == 1);
  }
  CHECK(inspect(folder, cat(checkpoints, "checkpoint_training.pth --convert ", folder / "a.onnx"))
            .code == 2);
}
