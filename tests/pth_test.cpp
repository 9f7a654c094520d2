// PyTorch checkpoints: files that PyTorch wrote, value by value; what is written here, read again.
#include "engine/io/state_dict.h"
#include "tests/pickles.h"
#include "tests/vim_model.h"

using namespace krait;
using Kind = PthValue::Kind;

namespace {

const std::string folder = KRAIT_SOURCE_DIR "/tests/golden/checkpoints/";

std::vector<double> counting(int n) {
  std::vector<double> v(n);
  for (int i = 0; i < n; ++i) v[i] = i;
  return v;
}
void check_tensor(const PthValue& file, const char* name, const std::string& type,
                  const std::vector<int64_t>& shape, const std::vector<double>& values) {
  CAPTURE(name);
  const PthValue* v = file.find(name);
  REQUIRE(v);
  REQUIRE(v->is(Kind::tensor));
  const StoredTensor t = v->tensor->stored();
  CHECK(t.dtype == type);
  CHECK(t.shape == shape);
  CHECK(t.values() == values);
}

}  // namespace

TEST_CASE("pth: views, slices, scalars, empty tensors, and every type") {
  const PthValue f = read_pth(folder + "checkpoint_odd_tensors.pth");
  CHECK(f.items.size() == 2 * 7);
  std::vector<double> transposed;
  for (int i = 0; i < 6; ++i)
    for (int j = 0; j < 4; ++j) transposed.push_back(6 * j + i);
  check_tensor(f, "transposed", "F32", {6, 4}, transposed);
  check_tensor(f, "slice", "F32", {2, 3}, {8, 9, 10, 14, 15, 16});
  check_tensor(f, "half", "F16", {4, 6}, counting(24));
  check_tensor(f, "bf16", "BF16", {4, 6}, counting(24));
  check_tensor(f, "long", "I64", {5}, counting(5));
  check_tensor(f, "scalar", "F32", {}, {3.5});
  check_tensor(f, "empty", "F32", {0, 4}, {});
  CHECK(f.find("transposed")->tensor->storage == f.find("slice")->tensor->storage);
}

TEST_CASE("pth: a file of PyTorch 2") {
  const PthValue f = read_pth(folder + "checkpoint_torch_2.pth");
  CHECK(f.items.size() == 2 * 7);
  check_tensor(f, "n", "I64", {}, {12});
  check_tensor(f, "flags", "BOOL", {3}, {1, 0, 1});
  check_tensor(f, "u8", "U8", {5}, counting(5));
  check_tensor(f, "a.bias", "BF16", {5},
               {-0.92578125, 0.8203125, 0.890625, -0.014892578125, 0.1611328125});
  check_tensor(f, "f8", "F64", {4},
               {0.803274929523468, -0.8854722380638123, -0.6480563879013062, -0.6731191277503967});
  const StoredTensor a = f.find("a.weight")->tensor->stored(), b = f.find("b")->tensor->stored();
  CHECK(a.shape == std::vector<int64_t>{5, 7});
  CHECK(b.shape == std::vector<int64_t>{3, 4, 2});
  double sum_a = 0, sum_b = 0;
  for (const double v : a.values()) sum_a += v;
  for (const double v : b.values()) sum_b += v;
  CHECK(sum_a == doctest::Approx(2.71041027829051).epsilon(1e-13));
  CHECK(sum_b == doctest::Approx(-6.0371551513671875).epsilon(1e-15));
}

TEST_CASE("pth: a training checkpoint: everything in it, and the logits of its weights") {
  const std::string path = folder + "checkpoint_training.pth";
  const PthValue f = read_pth(path);
  CHECK(f.find("epoch")->integer == 7);
  CHECK(f.find("scaler")->text == "none");
  const PthValue& args = *f.find("args");
  CHECK(args.is(Kind::object));
  CHECK(args.text == "argparse.Namespace");
  CHECK(args.find("batch_size")->integer == 640);
  CHECK(args.find("lr")->real == 0.0005);
  CHECK(args.find("opt_betas")->is(Kind::none));
  const PthValue& group = f.find("optimizer")->find("param_groups")->items.at(0);
  CHECK(group.find("betas")->items.at(1).real == 0.999);
  CHECK(group.find("amsgrad")->is(Kind::boolean));
  CHECK(group.find("params")->items.size() == 40);

  const SafeTensors expected =
      read_safetensors(folder + "checkpoint_training_expected.safetensors");
  const SafeTensors weights = read_pth_weights(path);
  CHECK(weights.tensors.size() == 2 * 42);
  const VimConfig config = vim_config_from_json(expected.metadata.at("config"));
  Context ctx(Backend::cpu);
  ParamStore store = declared(config);
  store.allocate(ctx, DType::f32, {});
  for (const Param& p : store.all()) {
    CAPTURE(p.name);
    CHECK(weights.at(p.name).bytes == expected.at("param." + p.name).bytes);
    ctx.set(store.part(Role::master, p), weights.at(p.name).values());
  }
  const RopeTable table = rope_table(ctx, config, DType::f32);
  CHECK(weights.at("rope.freqs_cos").values()[70] ==
        doctest::Approx(ctx.values(table.cos)[70]).epsilon(1e-6));
  std::vector<double> logits;
  auto run = [&] {
    Tensor x = ctx.from_values({2, 3, 32, 32}, DType::f32, expected.at("in.images").values());
    logits = ctx.values(vim(ctx, config, vim_weights(config, store), table, x));
  };
  ctx.reserve(ctx.measure(run));
  run();
  const std::vector<double> right = expected.at("out.logits").values();
  double largest = 0, error = 0;
  for (size_t i = 0; i < right.size(); ++i) {
    largest = std::max(largest, std::abs(right[i]));
    error = std::max(error, std::abs(right[i] - logits[i]));
  }
  CHECK(error < 1e-5 * largest);
}

TEST_CASE("pth: the format before PyTorch 1.6") {
  const SafeTensors old = read_pth_weights(folder + "checkpoint_legacy.pth"),
                    now = read_pth_weights(folder + "checkpoint_training.pth");
  CHECK(old.tensors.size() == 42);
  for (const auto& [name, t] : old.tensors) {
    CAPTURE_BOUND(name);
    CHECK(now.at(name).shape == t.shape);
    CHECK(now.at(name).bytes == t.bytes);
  }
  const PthValue small = by_hand::read(by_hand::legacy());
  check_tensor(small, "w", "F32", {2, 3}, {1, 2, 3, 4, 5, 6});
}

TEST_CASE("pth: big-endian storages, shared by tensors with strides of zero") {
  using namespace by_hand;
  const std::string v = cat("}", text("a")) +
                        tensor(storage("FloatStorage", "0", 24), 3, {2, 2}, {0, 1}) + "s" +
                        text("b") + tensor(storage("IntStorage", "0", 24), 1, {1}, {1}) + "s";
  check_tensor(read(archive(v)), "a", "F32", {2, 2}, {3, 4, 3, 4});
  const StoredTensor b = read(archive(v, "big")).find("b")->tensor->stored();
  CHECK(b.values() == std::vector<double>{0x0000803f});  // 1.0f is 3f800000
  CHECK(input_error([&] { read(archive(v, "mixed")); }) ==
        "file: has the unknown byte order 'mixed'");
}

TEST_CASE("pth: a safetensors file that starts like a pickle is none") {
  const TemporaryFolder out;
  for (const size_t length : {0x0080, 0x0280, 0x0480, 0x010280}) {  // of the header
    SafeTensors f;
    f.tensors.emplace_back("a", StoredTensor::f32({1}, {7}));
    f.metadata["x"] = "";
    write_safetensors(out / "a.safetensors", f);
    const size_t now = file_content(out / "a.safetensors").size() - 8 - 4;
    f.metadata["x"] = std::string(length - now, 'x');
    write_safetensors(out / "a.safetensors", f);
    REQUIRE(file_content(out / "a.safetensors")[0] == '\x80');
    CHECK(!is_pth(out / "a.safetensors"));
  }
  CHECK(is_pth(folder + "checkpoint_legacy.pth"));
  CHECK(is_pth(folder + "checkpoint_torch_2.pth"));
}

TEST_CASE("pth: where weights are found, and prefixes that all names have") {
  const TemporaryFolder out;
  auto weight = [](double v) { return PthValue::of(StoredTensor::f32({1}, {v})); };
  PthValue inner = PthValue::dict(), average = PthValue::dict(), all = PthValue::dict();
  inner.add("module.a", weight(1)).add("module.b", weight(2));
  average.add("a", weight(3)).add("b", weight(4));
  all.add("state_dict", inner).add("model_ema", average).add("best", weight(5));
  write_pth(out / "nested.pth", all);
  SafeTensors w = read_pth_weights(out / "nested.pth");
  CHECK(w.tensors.size() == 4);
  CHECK(w.at("b").values()[0] == 2);
  CHECK(w.at("ema.a").values()[0] == 3);
  write_pth(out / "bare.pth", average);
  CHECK(read_pth_weights(out / "bare.pth").at("a").values()[0] == 3);
  write_pth(out / "none.pth", PthValue::dict().add("epoch", PthValue::of(int64_t{3})));
  CHECK(input_error([&] { read_pth_weights(out / "none.pth"); }).find("no state dict") !=
        std::string::npos);
}

TEST_CASE("pth: what is written is read again, in both widths of zip") {
  const TemporaryFolder out;
  PthValue all = PthValue::dict(), list;
  list.kind = Kind::list;
  for (const int64_t v : {int64_t{0}, int64_t{-1}, int64_t{1} << 40, INT64_MIN})
    list.items.push_back(PthValue::of(v));
  PthValue flag = PthValue::of(int64_t{1});
  flag.kind = Kind::boolean;
  all.add("numbers", list).add("real", PthValue::of(0.1)).add("flag", flag).add("none", {});
  const StoredTensor t = StoredTensor::f32({2, 3}, counting(6));
  const PthValue shared = PthValue::of(t);
  all.add("t", shared)
      .add("tied", shared)
      .add("empty", PthValue::of(StoredTensor::f32({0, 2}, {})));
  const PthValue odd = read_pth(folder + "checkpoint_odd_tensors.pth");
  all.add("transposed", *odd.find("transposed")).add("half", *odd.find("half"));
  for (const bool zip64 : {false, true}) {
    write_pth(out / "a.pth", all, zip64);
    const std::string raw = file_content(out / "a.pth");
    const auto files = read_zip(std::as_bytes(std::span(raw)), "a");
    for (const auto& [name, data] : files) {
      CAPTURE_BOUND(name);
      CHECK((reinterpret_cast<const char*>(data.data()) - raw.data()) % 64 == 0);
    }
    CHECK(files.size() == 3 + 4);  // "tied" needs no storage of its own
    const PthValue f = read_pth(out / "a.pth");
    REQUIRE(f.items.size() == all.items.size());
    for (size_t i = 0; i < 4; ++i)
      CHECK(f.find("numbers")->items.at(i).integer == list.items[i].integer);
    CHECK(f.find("real")->real == 0.1);
    CHECK(f.find("flag")->is(Kind::boolean));
    CHECK(f.find("none")->is(Kind::none));
    CHECK(f.find("tied")->tensor->storage == f.find("t")->tensor->storage);
    check_tensor(f, "t", "F32", {2, 3}, counting(6));
    check_tensor(f, "half", "F16", {4, 6}, counting(24));
    CHECK(f.find("transposed")->tensor->stored().bytes ==
          odd.find("transposed")->tensor->stored().bytes);
  }
  const PthValue args = *read_pth(folder + "checkpoint_training.pth").find("args");
  CHECK(input_error([&] { write_pth(out / "b.pth", args); }).find("can be written") !=
        std::string::npos);
}
