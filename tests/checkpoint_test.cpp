// Checkpoints and safetensors files: round trips, damaged files, files of another model.
#include "engine/checkpoint.h"

#include <filesystem>
#include <fstream>
#include <random>
#include <unistd.h>

#include "engine/optimizer.h"
#include "tests/support.h"

using namespace krait;
using Role = ParamStore::Role;
namespace fs = std::filesystem;

namespace {

struct Folder {  // a temporary one
  fs::path path;
  Folder() {
    std::string name = (fs::temp_directory_path() / "krait_test_XXXXXX").string();
    REQUIRE(mkdtemp(name.data()));
    path = name;
  }
  ~Folder() { fs::remove_all(path); }
  std::string operator/(const std::string& name) const { return (path / name).string(); }
};

std::string read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void write_all(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}
// A file with this header and so many bytes of data.
void write_header(const std::string& path, const std::string& header, size_t data = 0) {
  std::string s(8, '\0');
  for (int i = 0; i < 8; ++i) s[i] = static_cast<char>(header.size() >> (8 * i));
  write_all(path, s + header + std::string(data, '\1'));
}
std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const InputError& e) {
    return e.what();
  }
  return "no error";
}
bool contains(const std::string& s, const std::string& part) {
  return s.find(part) != std::string::npos;
}

ParamStore store(int64_t width, bool extra = false) {
  return ParamStore([=](ParamStore& s) {
    s.get("pos_embed", {1, 4, width}, {Init::normal, 0.02});
    s.get("layers.0.norm.weight", {width}, {Init::normal, 1});
    s.get("head.weight", {10, width}, {Init::normal, 0.02});
    if (extra) s.get("head.bias", {10}, {});
  });
}
constexpr ParamStore::Blocks training{.gradients = true, .moments = true, .ema = true};

// Every block holds its own numbers.
void scramble(Context& ctx, ParamStore& params, uint32_t seed) {
  std::mt19937 g(seed);
  std::normal_distribution<float> normal;
  for (Role r : {Role::master, Role::moment1, Role::moment2, Role::ema})
    if (params.flat(r)) {
      std::vector<float> v(params.total());
      for (const Param& p : params.all())
        for (int64_t i = 0; i < p.shape.count(); ++i) v[p.offset + i] = normal(g);
      ctx.upload(params.flat(r), v.data(), v.size() * sizeof(float));
    }
  params.refresh_copy(ctx);
}

const TrainState some_state{.step = (uint64_t{1} << 60) + 7,
                            .seed = ~uint64_t{0},
                            .epoch = 3,
                            .step_in_epoch = 41,
                            .epoch_totals = {.loss = 1.0 / 3, .count = 99, .top1 = 5, .top5 = 50},
                            .best_acc1 = 54.321,
                            .best_epoch = 2,
                            .seconds = 0.1,
                            .epoch_seconds = 0.05,
                            .model = "vim_micro_patch4_32",
                            .config = R"({"depth": 2})",
                            .options = R"({"lr": 0.001, "data-path": "a \"b\" ü"})",
                            .pictures = R"({"mean": [0.5]})"};

}  // namespace

TEST_CASE("checkpoint: written beside the training, under several names") {
  Folder folder;
  const std::string last = folder / "checkpoint.safetensors",
                    best = folder / "best_checkpoint.safetensors",
                    plain = folder / "plain.safetensors";
  Context ctx(Backend::cpu);
  ParamStore a = store(12);
  a.allocate(ctx, DType::f32, training);
  CheckpointWriter writer;
  TrainState state = some_state;
  std::string first;
  for (uint32_t epoch = 0; epoch < 3; ++epoch) {
    scramble(ctx, a, epoch);
    state.epoch = epoch;
    save_checkpoint(ctx, plain, a, state);
    if (epoch == 1) first = read_all(plain);
    // The second is the best: the third must leave it alone.
    writer.save(ctx, epoch < 2 ? std::vector{last, best} : std::vector{last}, a, state);
    scramble(ctx, a, 99);  // what was saved is as it was then
  }
  writer.finish();
  CHECK(read_all(last) == read_all(plain));
  CHECK(read_all(best) == first);
  CHECK(!fs::exists(best + ".tmp"));
  writer.save(ctx, {folder / "no such folder/checkpoint.safetensors"}, a, state);
  CHECK_THROWS_WITH_AS(writer.finish(), doctest::Contains("cannot be written"), InputError);
  writer.finish();  // said once
}

TEST_CASE("checkpoint: a round trip keeps every bit") {
  Folder folder;
  const std::string path = folder / "checkpoint.safetensors";
  for (Backend backend : {Backend::cpu, Backend::cuda}) {
    if (!available(backend)) continue;
    Context ctx(backend);
    ParamStore a = store(12), b = store(12);
    a.allocate(ctx, DType::bf16, training);
    b.allocate(ctx, DType::bf16, training);
    scramble(ctx, a, 1);
    save_checkpoint(ctx, path, a, some_state);
    CHECK(!fs::exists(path + ".tmp"));
    const Checkpoint c = read_checkpoint(path);
    CHECK(c.has_ema());
    load_checkpoint(ctx, c, b, true);
    for (Role r : {Role::master, Role::moment1, Role::moment2, Role::ema, Role::copy})
      CHECK(ctx.values(a.flat(r)) == ctx.values(b.flat(r)));
    REQUIRE(c.state.has_value());
    CHECK(c.state->step == some_state.step);
    CHECK(c.state->seed == some_state.seed);
    CHECK(c.state->epoch == 3);
    CHECK(c.state->step_in_epoch == 41);
    CHECK(c.state->epoch_totals.loss == 1.0 / 3);
    CHECK(c.state->epoch_totals.count == 99);
    CHECK(c.state->epoch_totals.top5 == 50);
    CHECK(c.state->best_acc1 == 54.321);
    CHECK(c.state->best_epoch == 2);
    CHECK(c.state->seconds == 0.1);
    CHECK(c.state->model == some_state.model);
    CHECK(c.state->config == some_state.config);
    CHECK(c.state->options == some_state.options);
    CHECK(c.state->pictures == some_state.pictures);
    // Written again: the same file, and the old one is replaced.
    const std::string before = read_all(path);
    save_checkpoint(ctx, path, b, *c.state);
    CHECK(read_all(path) == before);
    // Without resuming, moments stay.
    ParamStore d = store(12);
    d.allocate(ctx, DType::f32, training);
    load_checkpoint(ctx, c, d, false);
    CHECK(ctx.values(a.flat(Role::master)) == ctx.values(d.flat(Role::master)));
    CHECK(ctx.values(a.flat(Role::ema)) == ctx.values(d.flat(Role::ema)));
    for (double x : ctx.values(d.flat(Role::moment1))) CHECK(x == 0);
  }
}

TEST_CASE("checkpoint: weights of other programs, in other types") {
  Folder folder;
  Context ctx(Backend::cpu);
  ParamStore s = store(2);
  s.allocate(ctx, DType::f32, {.moments = true, .ema = true});
  SafeTensors file;
  file.metadata["format"] = "pt";
  const uint16_t half[8] = {0x3C00, 0xBC00, 0x0001, 0x7BFF, 0x8000, 0x3555, 0x0400, 0x4248};
  file.tensors.emplace_back("pos_embed", StoredTensor::raw("F16", {1, 4, 2}, half, sizeof half));
  const bf16 b[2] = {bf16(1.5f), bf16(-0.25f)};
  file.tensors.emplace_back("layers.0.norm.weight", StoredTensor::raw("BF16", {2}, b, sizeof b));
  file.tensors.emplace_back("rope.freqs_cos", StoredTensor::f32({1}, {1}));
  file.tensors.emplace_back("rope.freqs_sin", StoredTensor::f32({1}, {0}));
  file.tensors.emplace_back("head.weight",
                            StoredTensor::f64({10, 2}, std::vector<double>(20, 0.1)));
  const std::string path = folder / "weights.safetensors";
  write_safetensors(path, file);
  const Checkpoint c = read_checkpoint(path);
  CHECK(!c.state);
  load_checkpoint(ctx, c, s, false);
  auto values = [&](Role r, const char* name) { return ctx.values(s.part(r, *s.find(name))); };
  const std::vector<double> want = {1, -1, 0x1p-24, 65504, 0, 0x1.554p-2, 0x1p-14, 3.140625};
  CHECK(values(Role::master, "pos_embed") == want);
  CHECK(values(Role::ema, "pos_embed") == want);
  CHECK(values(Role::master, "layers.0.norm.weight") == std::vector<double>{1.5, -0.25});
  CHECK(values(Role::master, "head.weight")[7] == 0.1f);
  CHECK(error_of([&] { load_checkpoint(ctx, c, s, true); }) ==
        path + ": has weights only, so a training cannot go on from it");
  file.tensors[1].second = StoredTensor::raw("F8_E4M3", {2}, "ab", 2);
  write_safetensors(path, file);
  CHECK(contains(error_of([&] { load_checkpoint(ctx, read_checkpoint(path), s, false); }),
                 "layers.0.norm.weight is of type F8_E4M3"));
}

TEST_CASE("checkpoint: of another model, or none at all") {
  Folder folder;
  Context ctx(Backend::cpu);
  ParamStore a = store(8), other = store(12), more = store(8, true);
  for (ParamStore* s : {&a, &other, &more}) s->allocate(ctx, DType::f32, training);
  scramble(ctx, a, 1);
  scramble(ctx, other, 2);
  const std::string path = folder / "c.safetensors";
  save_checkpoint(ctx, path, a, some_state);
  const auto before = ctx.values(other.flat(Role::master));
  CHECK(error_of([&] { load_checkpoint(ctx, read_checkpoint(path), other, true); }) ==
        path +
            ": is of another model (vim_micro_patch4_32): pos_embed is (1, 4, 8) in the file and "
            "(1, 4, 12) in this model; layers.0.norm.weight is (8) in the file and (12) in this "
            "model; 3 names differ");
  CHECK(ctx.values(other.flat(Role::master)) == before);
  CHECK(contains(error_of([&] { load_checkpoint(ctx, read_checkpoint(path), more, true); }),
                 ": head.bias (10) is not in the file; 1 name differs"));
  save_checkpoint(ctx, path, more, some_state);
  CHECK(contains(error_of([&] { load_checkpoint(ctx, read_checkpoint(path), a, true); }),
                 ": head.bias (10) is not in this model; 1 name differs"));
  SafeTensors none;
  none.tensors.emplace_back("x", StoredTensor::f32({1}, {1}));
  write_safetensors(path, none);
  CHECK(contains(error_of([&] { load_checkpoint(ctx, read_checkpoint(path), a, false); }),
                 "is not a checkpoint: none of this model's 3 parameters is in it"));
  // A checkpoint that lost its moments, or its numbers.
  save_checkpoint(ctx, path, a, some_state);
  SafeTensors file = read_safetensors(path);
  const SafeTensors whole = file;
  std::erase_if(file.tensors, [](auto& t) { return t.first == "optimizer.v.pos_embed"; });
  write_safetensors(path, file);
  CHECK(contains(error_of([&] { load_checkpoint(ctx, read_checkpoint(path), a, true); }),
                 "is damaged: optimizer.v.pos_embed (1, 4, 8) is not in it"));
  for (const char* progress : {"", "[]", "{\"step\": \"x\"}"}) {
    file = whole;
    file.metadata["progress"] = progress;
    write_safetensors(path, file);
    CHECK(contains(error_of([&] { read_checkpoint(path); }), "is damaged: where"));
  }
  file.metadata["format"] = "krait 99";
  write_safetensors(path, file);
  CHECK(contains(error_of([&] { read_checkpoint(path); }), "\"krait 99\""));
}

TEST_CASE("safetensors: a file cut off anywhere says so") {
  Folder folder;
  Context ctx(Backend::cpu);
  ParamStore a = store(8);
  a.allocate(ctx, DType::f32, {});
  const std::string path = folder / "c.safetensors", cut = folder / "cut.safetensors";
  save_checkpoint(ctx, path, a, some_state);
  const std::string whole = read_all(path);
  for (size_t n = 0; n < whole.size(); n += n < 20 ? 1 : 97) {
    write_all(cut, whole.substr(0, n));
    const std::string e = error_of([&] { read_checkpoint(cut); });
    CAPTURE(n);
    CAPTURE(e);
    CHECK(e.starts_with(cut + ": "));
    CHECK(!contains(e, "\n"));
    CHECK(contains(e, n < 8 ? "is not a safetensors file" : "is cut off"));
  }
  write_all(cut, whole.substr(0, whole.size() - 1));
  CHECK(contains(error_of([&] { read_checkpoint(cut); }), "is cut off"));
  write_all(cut, whole + "x");
  CHECK(contains(error_of([&] { read_checkpoint(cut); }), "1 bytes after its last tensor"));
}

TEST_CASE("checkpoint: flipped bits are noticed, and the previous file takes its place") {
  Folder folder;
  const std::string path = folder / "checkpoint.safetensors",
                    previous = folder / "previous_checkpoint.safetensors";
  CHECK(previous_checkpoint(path) == previous);
  CHECK(previous_checkpoint("a.safetensors") == "previous_a.safetensors");
  Context ctx(Backend::cpu);
  ParamStore a = store(8);
  a.allocate(ctx, DType::f32, training);
  TrainState state = some_state;
  std::string files[3];
  for (int k = 0; k < 3; ++k) {
    scramble(ctx, a, k);
    state.epoch = k;
    save_checkpoint(ctx, path, a, state);
    files[k] = read_all(path);
    CHECK(fs::exists(previous) == (k > 0));
    if (k > 0) CHECK(read_all(previous) == files[k - 1]);
  }
  // Any bit, but for those of the word "checksum": then it is a file without one, and as it was.
  const size_t word = files[2].find("checksum");
  std::mt19937 g(1);
  for (size_t i = 0; i < files[2].size(); i += i < 400 ? 1 : 61) {
    std::string bad = files[2];
    bad[i] = static_cast<char>(bad[i] ^ (1 << g() % 8));
    write_all(path, bad);
    CAPTURE(i);
    const std::string e = error_of([&] { read_checkpoint(path); });
    if (i - word < 8)
      CHECK((e == "no error" || contains(e, path)));
    else
      CHECK(e.starts_with(path + ": "));
  }
  std::string warning;
  Checkpoint c = read_checkpoint_or_previous(path, warning);
  CHECK(c.path == previous);
  CHECK(c.state->epoch == 1);
  CHECK(warning ==
        path + ": is damaged: its bytes do not match its checksum; going on from " + previous);
  // The next one takes the damaged file's place, and not that of the good one before it.
  save_checkpoint(ctx, path, a, state);
  CHECK(read_all(path) == files[2]);
  CHECK(read_all(previous) == files[1]);
  warning.clear();
  CHECK(read_checkpoint_or_previous(path, warning).state->epoch == 2);
  CHECK(warning.empty());
  fs::remove(path);
  CHECK(read_checkpoint_or_previous(path, warning).state->epoch == 1);
  CHECK(contains(warning, "No such file"));
  write_all(path, files[2].substr(0, 1000));
  write_all(previous, "");
  const std::string both = error_of([&] { read_checkpoint_or_previous(path, warning); });
  CHECK(contains(both, path + ": is cut off"));
  CHECK(contains(both, "; and " + previous + ": is not a safetensors file"));
  fs::remove(previous);
  CHECK(error_of([&] { read_checkpoint_or_previous(path, warning); }) ==
        error_of([&] { read_checkpoint(path); }));
}

TEST_CASE("checkpoint: what an interrupted write left is not written over") {
  Folder folder;
  const std::string path = folder / "checkpoint.safetensors", best = folder / "best.safetensors";
  Context ctx(Backend::cpu);
  ParamStore a = store(8);
  a.allocate(ctx, DType::f32, training);
  CheckpointWriter writer;
  writer.save(ctx, {path, best}, a, some_state);
  writer.finish();
  const std::string good = read_all(best);
  fs::create_hard_link(best, path + ".tmp");  // as if it had ended just before the last renaming
  scramble(ctx, a, 1);
  save_checkpoint(ctx, path, a, some_state);
  CHECK(read_all(best) == good);
  CHECK(read_all(path) != good);
}

TEST_CASE("safetensors: garbage") {
  Folder folder;
  const std::string path = folder / "g.safetensors";
  auto error = [&] {
    const std::string e = error_of([&] { read_safetensors(path); });
    CHECK(e.starts_with(path + ": "));
    CHECK(!contains(e, "\n"));
    return e;
  };
  CHECK(contains(error(), "cannot be read: No such file"));
  write_all(path, "this is a text, and not such a file");
  CHECK(contains(error(), "not a safetensors file"));
  std::mt19937 g(1);
  for (int k = 0; k < 200; ++k) {
    std::string bytes(g() % 300, '\0');
    for (char& c : bytes) c = static_cast<char>(g());
    if (k % 2 && bytes.size() > 8) bytes.replace(1, 7, 7, '\0');  // a plausible length
    write_all(path, bytes);
    error();
  }
  // One changed byte in the header of a good file: an error or another file, never a crash.
  SafeTensors good;
  good.metadata["a"] = "b";
  good.tensors.emplace_back("x", StoredTensor::f32({2, 3}, {1, 2, 3, 4, 5, 6}));
  good.tensors.emplace_back("empty", StoredTensor::f32({0, 3}, {}));
  good.tensors.emplace_back("scalar", StoredTensor::f64({}, {7}));
  write_safetensors(path, good);
  const std::string whole = read_all(path);
  CHECK(read_safetensors(path).at("scalar").values() == std::vector<double>{7});
  CHECK(read_safetensors(path).at("empty").count() == 0);
  for (size_t i = 0; i + 32 < whole.size(); ++i) {
    std::string bad = whole;
    bad[i] = static_cast<char>(bad[i] ^ (1 + g() % 255));
    write_all(path, bad);
    error_of([&] { read_safetensors(path); });
  }
  auto refuses = [&](const char* header, size_t data, const char* part) {
    write_header(path, header, data);
    const std::string e = error();
    CAPTURE(e);
    CHECK(contains(e, part));
  };
  refuses("[]", 0, "no header");
  refuses("{", 0, "not JSON");
  refuses(R"({"x": 3})", 0, "tensor x has no proper entry");
  refuses(R"({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}})", 4, "needs 8 bytes");
  refuses(R"({"x": {"dtype": "Q32", "shape": [2], "data_offsets": [0, 4]}})", 4, "unknown type");
  refuses(R"({"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}})", 4, "other things");
  refuses(R"({"x": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 0]}})",
          0, "impossible shape");
  refuses(R"({"x": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}})", 4, "no numbers");
  refuses(R"({"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}})", 4, "needs 4 bytes");
  refuses(R"({"x": {"dtype": "F32", "shape": [1], "data_offsets": [400, 404]}})", 4, "gap");
  refuses(R"({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
              "y": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})",
          4, "overlaps");
  refuses(R"({"__metadata__": {"a": 1}})", 0, "metadata a is not a text");
  refuses(R"({"a\nb": 1})", 0, "tensor a?b has no");
}

TEST_CASE("safetensors: a place that cannot be written") {
  Folder folder;
  SafeTensors content;
  CHECK(contains(error_of([&] { write_safetensors(folder / "no/such/folder", content); }),
                 "cannot be written"));
  fs::create_directory(folder / "taken");
  CHECK(contains(error_of([&] { write_safetensors(folder / "taken", content); }),
                 "cannot be replaced"));
  CHECK(!fs::exists(folder / "taken.tmp"));
  {
    const auto lock = take_output_folder(folder / "new/one");
    const std::string e = error_of([&] { (void)take_output_folder(folder / "new/one"); });
    CHECK(contains(e, "another training writes to it (process " + std::to_string(getpid())));
  }
  (void)take_output_folder(folder / "new/one");  // nobody has it any more
  write_all(folder / "file", "x");
  CHECK(contains(error_of([&] { (void)take_output_folder(folder / "file"); }), "cannot be made"));
  CHECK(
      contains(error_of([&] { (void)take_output_folder(folder / "file/sub"); }), "cannot be made"));
  if (geteuid() != 0) {  // root may write everywhere
    fs::permissions(folder.path, fs::perms::owner_read | fs::perms::owner_exec);
    CHECK(contains(error_of([&] { (void)take_output_folder(folder.path.string()); }),
                   "cannot be written to: Permission denied"));
    fs::permissions(folder.path, fs::perms::owner_all);
  }
}
