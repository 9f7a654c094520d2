// classify and the C library: pictures get what train_cifar's evaluation gave them, bit for bit;
// what the program prints; what it does with files that are no pictures; threads.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <sstream>
#include <sys/wait.h>
#include <thread>

#include "apps/classify/run.h"
#include "apps/library/krait.h"
#include "apps/train_cifar/trainer.h"
#include "tests/files.h"
#include "tests/image_files.h"
#include "tests/vim_model.h"

using namespace krait;
using nlohmann::json;

namespace {

bool readable() {
  try {
    check_can_read_pictures();
    return true;
  } catch (const InputError&) {
    MESSAGE("skipped: built without stb_image");
    return false;
  }
}

TrainOptions trained(const std::string& data_set, const std::string& output) {
  TrainOptions o;
  o.model = "vim_micro_patch4_32";
  o.model_given = true;
  o.data_set = data_set;
  o.depth = 2;
  o.embed_dim = 16;
  o.patch_size = 8;
  o.lr = 4e-2;
  o.warmup_epochs = 0;
  o.epochs = 1;
  o.batch_size = 1000;
  o.device = "cpu";
  o.output_dir = output;
  o.print_every = 1000000;
  return o;
}

// A model trained for a few steps on drawn pictures: its checkpoint, and what its evaluation says.
struct Drawn {
  OneThread alone;
  TemporaryFolder folder;
  std::string checkpoint = folder / "model/checkpoint.safetensors";
  Dataset data = synthetic(false, 2000);
  std::vector<Prediction> predictions;

  explicit Drawn(const std::function<void(TrainOptions&)>& change = [](TrainOptions&) {}) {
    TrainOptions o = trained("SYNTHETIC", folder / "model");
    change(o);
    Trainer(o).train(3);
    o.resume = checkpoint;
    o.eval = true;
    Trainer t(o);
    predictions = t.evaluate_average().value_or(t.evaluate()).predictions;
  }
  Picture picture(int64_t i) const {
    Picture p{32, 32, std::vector<uint8_t>(3072)};
    for (int k = 0; k < 1024; ++k)
      for (int c = 0; c < 3; ++c) p.pixels[3 * k + c] = data.images[i * 3072 + c * 1024 + k];
    return p;
  }
};

// Checks what a classifier says of the first `count` drawn pictures.
void check_predictions(const Drawn& d, Classifier& c, int64_t count) {
  std::vector<uint8_t> samples(c.batch() * c.sample_bytes());
  std::vector<float> probabilities(c.batch() * c.classes());
  int64_t wrong = 0;
  double worst_sum = 0;
  for (int64_t first = 0; first < count; first += c.batch()) {
    const int64_t B = std::min(c.batch(), count - first);
    for (int64_t i = 0; i < B; ++i)
      c.prepare(d.picture(first + i), samples.data() + i * c.sample_bytes());
    c.classify(samples.data(), B, probabilities.data());
    for (int64_t i = 0; i < B; ++i) {
      const float* row = probabilities.data() + i * c.classes();
      const auto best = most_probable(row, c.classes(), 1)[0];
      const Prediction& p = d.predictions[first + i];
      wrong += best.first != p.label || best.second != p.probability;
      double sum = 0;
      for (int k = 0; k < c.classes(); ++k) sum += row[k];
      worst_sum = std::max(worst_sum, std::abs(sum - 1));
    }
  }
  CHECK(wrong == 0);
  CHECK(worst_sum < 1e-5);
}

// The checkpoint at `path` with other metadata.
std::string changed(const std::string& path, const std::string& to,
                    const std::function<void(std::map<std::string, std::string>&)>& change) {
  SafeTensors file = read_safetensors(path);
  change(file.metadata);
  write_safetensors(to, file);
  return to;
}

struct Result {
  int code;
  std::string out, err;
};
Result run_classify(const TemporaryFolder& folder, const std::string& arguments,
                    const std::string& input = "/dev/null", std::string out = "") {
  const std::string err = folder / "err";
  if (out.empty()) out = folder / "out";
  const int status = std::system(cat("OMP_NUM_THREADS=1 " KRAIT_BIN_DIR "/classify ", arguments,
                                     " <", input, " >", out, " 2>", err)
                                     .c_str());
  return {WEXITSTATUS(status), out == "/dev/full" ? "" : file_content(out), file_content(err)};
}

std::vector<std::string> lines(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> all;
  for (std::string line; std::getline(in, line);) all.push_back(line);
  return all;
}

}  // namespace

TEST_CASE("classify: the evaluation's classes and probabilities, bit for bit") {
  const Drawn d;
  Classifier same(d.checkpoint, {.device = "cpu", .batch = 1000});
  CHECK(same.class_names() == d.data.class_names);
  CHECK(same.input_size() == 32);
  check_predictions(d, same, 2000);
  Classifier other(d.checkpoint, {.device = "cpu", .batch = 7});  // on a CPU the batch is no matter
  check_predictions(d, other, 100);

  // A file from before checkpoints said how pictures are prepared.
  const std::string old = changed(d.checkpoint, d.folder / "old.safetensors",
                                  [](auto& metadata) { CHECK(metadata.erase("pictures") == 1); });
  Classifier before(old, {.device = "cpu", .batch = 1000});
  CHECK(before.class_names() == d.data.class_names);
  check_predictions(d, before, 2000);
}

TEST_CASE("classify: normalisation, crop and scale as trained; the average of the weights") {
  const Drawn d([](TrainOptions& o) {
    o.normalize = "half";
    o.input_size = 48;
    o.eval_crop_ratio = 0.8;
    o.train_interpolation = "bicubic";
    o.model_ema = true;
    o.model_ema_decay = 0.5;
    o.result = "ema";
  });
  Classifier c(d.checkpoint, {.device = "cpu", .batch = 1000});
  CHECK(c.input_size() == 48);
  check_predictions(d, c, 1000);
  const std::string old = changed(d.checkpoint, d.folder / "old.safetensors",
                                  [](auto& metadata) { metadata.erase("pictures"); });
  Classifier before(old, {.device = "cpu", .batch = 1000});
  check_predictions(d, before, 1000);
  for (const char* name : {"converted.safetensors", "converted.pth"}) {  // these take it along
    const std::string to = d.folder / name;
    REQUIRE(std::system(cat(KRAIT_BIN_DIR "/inspect_checkpoint ", d.checkpoint,
                            " --average --convert ", to, " > ", d.folder / "inspect.log")
                            .c_str()) == 0);
    Classifier converted(to, {.device = "cpu", .batch = 100});
    check_predictions(d, converted, 100);
  }
  // Not the average: another answer.
  Classifier plain(d.checkpoint, {.device = "cpu", .weights = "model", .batch = 1});
  Classifier average(d.checkpoint, {.device = "cpu", .weights = "ema", .batch = 1});
  std::vector<uint8_t> sample(plain.sample_bytes());
  std::vector<float> a(10), b(10);
  plain.prepare(d.picture(0), sample.data());
  plain.classify(sample.data(), 1, a.data());
  average.classify(sample.data(), 1, b.data());
  CHECK(a != b);
}

TEST_CASE("classify: a folder of pictures, one of them broken, as the evaluation of the folder") {
  if (!readable()) return;
  const OneThread alone;
  const TemporaryFolder folder;
  uint32_t number = 0;
  for (const char* part : {"train", "val"})
    for (const char* name : {"cat, tame", "ant"})
      for (int i = 0; i < 4; ++i) {
        ++number;
        const Picture p = drawn_picture(30 + static_cast<int>(number * 7 % 17),
                                        28 + static_cast<int>(number * 5 % 23), number);
        write_bytes(folder / cat("set/", part, "/", name, "/", i, i % 2 ? ".png" : ".BMP"),
                    i % 2 ? png_bytes(p) : bmp_bytes(p));
      }
  TrainOptions o = trained("IMAGE_FOLDER", folder / "model");
  o.data_path = folder / "set";
  o.batch_size = 4;
  o.num_workers = 1;
  Trainer t(o);
  t.train();
  const std::vector<Prediction> expected = t.evaluate().predictions;
  write_bytes(folder / "set/val/ant/1a.png", png_bytes(drawn_picture(9, 9, 1)).substr(0, 200));

  const std::string checkpoint = folder / "model/checkpoint.safetensors";
  const std::string command =
      cat(checkpoint, " --device cpu --batch-size 4 '", folder / "set/val", "'");
  const Result r = run_classify(folder, command + " --format jsonl");
  CHECK(r.code == 3);
  CHECK(r.err == cat("classify: ", folder / "set/val/ant/1a.png", " is cut off\n"));
  const auto all = lines(r.out);
  REQUIRE(all.size() == 9);
  size_t k = 0;
  for (const std::string& line : all) {
    const json j = json::parse(line);
    if (j["file"].get<std::string>().ends_with("1a.png")) {
      CHECK(j["error"] == "is cut off");
      continue;
    }
    const Prediction& p = expected.at(k++);
    CHECK(j["classes"].size() == 2);
    CHECK(j["classes"][0]["class"] == (p.label == 0 ? "ant" : "cat, tame"));
    CHECK(j["classes"][0]["probability"].get<float>() == p.probability);
  }
  CHECK(k == 8);

  // CSV and text, and other names; a list out of a pipe.
  const auto csv = lines(run_classify(folder, command + " --format csv --top 1").out);
  REQUIRE(csv.size() == 10);
  CHECK(csv[0] == "file,error,class_1,probability_1");
  CHECK(csv[3] == cat(folder / "set/val/ant/1a.png", ",is cut off,,"));
  std::ofstream(folder / "names") << "first\nsecond\n";
  std::ofstream(folder / "one") << "one\n";
  std::ofstream(folder / "list") << (folder / "set/val/ant/0.BMP") << "\r\n\n"
                                 << (folder / "absent.png") << "\n";
  const Result listed = run_classify(
      folder, cat(checkpoint, " --top 1 --class-names ", folder / "names", " --list -"),
      folder / "list");
  CHECK(listed.code == 3);
  CHECK(listed.out ==
        cat(folder / "set/val/ant/0.BMP: ", expected[0].label == 0 ? "first" : "second", " ",
            listed.out.substr(listed.out.size() - 7)));
  CHECK(listed.err ==
        cat("classify: ", folder / "absent.png cannot be opened (No such file or directory)\n"));

  // What is wrong is said in one line, with exit code 2.
  for (const std::string& wrong :
       {checkpoint, folder / "names x.png", folder / "absent.safetensors x.png",
        checkpoint + " --list " + folder / "absent", checkpoint + " --top 0 x.png",
        checkpoint + " x.png --class-names " + folder / "one", checkpoint + " --nothing x.png",
        checkpoint + " --benchmark --top 3", checkpoint + " --weights ema x.png",
        checkpoint + " " + folder / "model"}) {
    CAPTURE(wrong);
    const Result refused = run_classify(folder, wrong);
    CHECK(refused.code == 2);
    CHECK(refused.out == "");
    CHECK(std::count(refused.err.begin(), refused.err.end(), '\n') == 1);
  }
  CHECK(run_classify(folder, checkpoint + " --format csv x.png", "/dev/null", "/dev/full").code ==
        2);
  const Result measured = run_classify(folder, command + " --benchmark");
  CHECK(measured.code == 0);
  CHECK(measured.out.find(" pictures/s\n") != std::string::npos);
}

TEST_CASE("classify: lines of every format") {
  const std::vector<std::string> names = {"a \"b\", c", "d"};
  const Answer right{"x,\xFF.png", "", {{0, 0.75f}, {1, 0.25f}}}, wrong{"y", "is \"empty\"", {}};
  CHECK(line(Format::text, right, names, 2) == "x,\xFF.png: a \"b\", c 0.7500, d 0.2500\n");
  CHECK(line(Format::text, wrong, names, 2) == "");
  CHECK(line(Format::csv, right, names, 2) == "\"x,\xFF.png\",,\"a \"\"b\"\", c\",0.75,d,0.25\n");
  CHECK(line(Format::csv, wrong, names, 2) == "y,\"is \"\"empty\"\"\",,,,\n");
  CHECK(json::parse(line(Format::jsonl, right, names, 2)) ==
        json{{"file", "x,\xEF\xBF\xBD.png"},
             {"classes",
              {{{"class", names[0]}, {"probability", 0.75}},
               {{"class", "d"}, {"probability", 0.25}}}}});
  CHECK(json::parse(line(Format::jsonl, wrong, names, 2)) ==
        json{{"file", "y"}, {"error", "is \"empty\""}});
  const float p[] = {0.2f, 0.4f, 0.4f, 0};
  const auto best = most_probable(p, 4, 3);
  CHECK(best == std::vector<std::pair<int, float>>{{1, 0.4f}, {2, 0.4f}, {0, 0.2f}});
}

TEST_CASE("classify: what a checkpoint says of its pictures is checked") {
  const Drawn d;
  auto with = [&](const char* key, const json& value) {
    return changed(d.checkpoint, d.folder / "changed.safetensors", [&](auto& metadata) {
      json j = json::parse(metadata["pictures"]);
      j[key] = value;
      metadata["pictures"] = j.dump();
    });
  };
  const std::pair<const char*, json> all[] = {{"class_names", {"one", "two"}},
                                              {"class_names", 7},
                                              {"input_size", 16},
                                              {"input_size", -1},
                                              {"input_size", 1e300},
                                              {"crop_ratio", 0},
                                              {"crop_ratio", nullptr},
                                              {"interpolation", "none"},
                                              {"interpolation", "random"},
                                              {"mean", {1, 2}},
                                              {"std", {1, 0, 1}}};
  for (const auto& [key, value] : all) {
    CAPTURE_BOUND(key);
    CAPTURE_BOUND(value);
    const std::string path = with(key, value);
    const std::string error = input_error([&] { Classifier(path, {.device = "cpu"}); });
    CHECK(error.starts_with(path + ": is damaged: "));
    CHECK(error.find('\n') == std::string::npos);
  }
  for (const auto& changes :
       {std::pair("pictures", "{"), {"config", "[]x"}, {"options", R"({"mean": "x"})"}}) {
    const std::string key = changes.first, value = changes.second;
    const std::string path =
        changed(d.checkpoint, d.folder / "changed.safetensors", [&](auto& metadata) {
          metadata[key] = value;
          if (key == "options") metadata.erase("pictures");
        });
    CHECK(input_error([&] { Classifier(path, {.device = "cpu"}); }).starts_with(path + ": "));
  }
  CHECK(input_error([&] { Classifier(d.checkpoint, {.device = "tpu"}); }) ==
        "the device is 'tpu'; there are auto, cpu, cuda");
}

TEST_CASE("classify: PyTorch's weights, whose model is found by their shapes") {
  const std::string file = KRAIT_SOURCE_DIR "/tests/golden/checkpoints/checkpoint_training.pth";
  Classifier c(file, {.device = "cpu", .batch = 2});
  CHECK(c.class_names().front() == "0");
  std::vector<uint8_t> sample(c.sample_bytes());
  std::vector<float> p(c.classes());
  c.prepare(drawn_picture(50, 60, 1), sample.data());
  c.classify(sample.data(), 1, p.data());
  double sum = 0;
  for (const float v : p) sum += v;
  CHECK(sum == doctest::Approx(1).epsilon(1e-5));
  CHECK(input_error([&] {
          Classifier(KRAIT_SOURCE_DIR "/tests/golden/checkpoints/checkpoint_odd_tensors.pth", {});
        }).find("checkpoint_odd_tensors.pth: ") != std::string::npos);
}

TEST_CASE("the C library: the classifier's numbers, errors as values") {
  const Drawn d;
  krait_model* m = krait_load(d.checkpoint.c_str(), "cpu");
  REQUIRE(m);
  CHECK(krait_class_count(m) == 10);
  CHECK(krait_class_name(m, 3) == d.data.class_names[3]);
  CHECK(krait_class_name(m, 10) == nullptr);
  CHECK(krait_class_name(m, -1) == nullptr);
  CHECK(krait_input_size(m) == 32);
  CHECK(std::string(krait_version()) == KRAIT_VERSION);
  const size_t count = 100;  // more than a batch
  std::vector<uint8_t> pixels;
  for (size_t i = 0; i < count; ++i) {
    const Picture p = d.picture(static_cast<int64_t>(i));
    pixels.insert(pixels.end(), p.pixels.begin(), p.pixels.end());
  }
  std::vector<float> probabilities(count * 10);
  REQUIRE(krait_classify(m, count, 32, 32, pixels.data(), probabilities.data()) == 0);
  for (size_t i = 0; i < count; ++i) {
    const auto best = most_probable(probabilities.data() + i * 10, 10, 1)[0];
    CHECK(best.first == d.predictions[i].label);
    CHECK(best.second == d.predictions[i].probability);
  }

  const std::vector<float> before = probabilities;
  float* out = probabilities.data();
  CHECK(krait_classify(nullptr, 1, 32, 32, pixels.data(), out) == 2);
  CHECK(std::string(krait_last_error()) == "model is NULL");
  CHECK(krait_classify(m, 1, 32, 32, nullptr, out) == 2);
  CHECK(krait_classify(m, 1, 32, 32, pixels.data(), nullptr) == 2);
  CHECK(krait_classify(m, 0, 32, 32, pixels.data(), out) == 2);
  CHECK(krait_classify(m, 1, 0, 32, pixels.data(), out) == 2);
  CHECK(krait_classify(m, 1, SIZE_MAX, SIZE_MAX / 2, pixels.data(), out) == 2);
  CHECK(krait_classify(m, 1, 1, 20000, pixels.data(), out) == 2);
  CHECK(krait_classify(m, SIZE_MAX, 1, 1, pixels.data(), out) != 0);
  CHECK(krait_classify_file(m, "/absent.png", out) == 2);
  CHECK(std::string(krait_last_error()).starts_with("/absent.png cannot be opened"));
  CHECK(krait_load("/absent", "cpu") == nullptr);
  CHECK(std::string(krait_last_error()).find("/absent") != std::string::npos);
  CHECK(krait_load(nullptr, nullptr) == nullptr);
  CHECK(krait_load(d.checkpoint.c_str(), "tpu") == nullptr);
  CHECK(krait_class_count(nullptr) == 0);
  CHECK(krait_input_size(nullptr) == 0);
  CHECK(probabilities == before);
  if (readable()) {
    write_bytes(d.folder / "p.png", png_bytes(d.picture(5)));
    REQUIRE(krait_classify_file(m, (d.folder / "p.png").c_str(), out) == 0);
    CHECK(std::equal(out, out + 10, before.data() + 50));
  }
  krait_free(m);
  krait_free(nullptr);
}

TEST_CASE("the C library: threads with one model, and with models of their own") {
  const Drawn d;
  krait_model* shared = krait_load(d.checkpoint.c_str(), "cpu");
  REQUIRE(shared);
  constexpr int threads = 4;
  int right[threads] = {};
  std::vector<std::thread> all;
  for (int t = 0; t < threads; ++t)
    all.emplace_back([&, t] {
      const OneThread alone;
      krait_model* own = krait_load(d.checkpoint.c_str(), "cpu");
      float p[10];
      for (int64_t i = t; i < 40; i += threads)
        for (krait_model* m : {shared, own}) {
          const Picture picture = d.picture(i);
          if (krait_classify(m, 1, 32, 32, picture.pixels.data(), p) != 0) return;
          const auto best = most_probable(p, 10, 1)[0];
          const Prediction& expected = d.predictions[i];
          right[t] += best.first == expected.label && best.second == expected.probability;
          // A mistake of this thread's own is not seen by the others.
          const std::string name = cat("/absent", t);
          if (krait_classify_file(m, name.c_str(), p) != 2) return;
          right[t] += std::string(krait_last_error()).starts_with(name);
        }
      krait_free(own);
    });
  for (std::thread& t : all) t.join();
  for (const int n : right) CHECK(n == 40 / threads * 2 * 2);
  krait_free(shared);
}
