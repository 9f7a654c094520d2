// Fine-tuning as a user runs it: starting from checkpoints, training parts of a model, parts of a
// data set, going on with a training of PyTorch's.
#include "apps/train_cifar/finetune.h"

#include <set>
#include <sstream>

#include "apps/train_cifar/trainer.h"
#include "engine/data/subset.h"
#include "engine/io/pth_training.h"
#include "models/vim/pos_embed.h"
#include "tests/files.h"
#include "tests/vim_model.h"

using namespace krait;
using Values = std::vector<double>;

namespace {

const std::string training = KRAIT_SOURCE_DIR "/tests/golden/checkpoints/checkpoint_training.pth";

TrainOptions options(const std::string& line) {
  std::vector<std::string> words = {"train_cifar"};
  std::istringstream in(line);
  for (std::string w; in >> w;) words.push_back(w);
  std::vector<const char*> argv;
  for (const auto& w : words) argv.push_back(w.c_str());
  return *parse_options(static_cast<int>(argv.size()), argv.data());
}
// Two layers on four tokens.
const std::string small_model =
    "--model vim_micro_patch4_32 --depth 2 --embed-dim 16 --patch-size 16 ";
const std::string briefly =
    "--data-set SYNTHETIC --batch-size 100 --epochs 2 --print-every 1000000 --lr 1e-2 ";

Values values(Trainer& t, const std::string& name, Role role = Role::master) {
  return t.context().values(t.params().part(role, *t.params().find(name)));
}
Values floats(Values v) {
  for (double& x : v) x = static_cast<float>(x);
  return v;
}

}  // namespace

TEST_CASE("fine-tuning: other classes at another size, from a checkpoint that says what it is") {
  const OneThread alone;
  const TemporaryFolder folder;
  Trainer before(options(small_model + briefly +
                         "--classes disc,ring,square --model-ema --output_dir " + (folder / "a")));
  before.train(3);
  const std::string from =
      briefly + "--model-ema --finetune " + (folder / "a/checkpoint.safetensors ");
  Trainer after(options(from + "--input-size 64"));  // its model, at twice the size
  CHECK(after.params().find("head.weight")->shape == Shape({10, 16}));
  CHECK(after.steps_done() == 0);
  for (const Param& p : after.params().all()) {
    CAPTURE(p.name);
    CHECK(values(after, p.name) == values(after, p.name, Role::ema));
    for (const double v : values(after, p.name, Role::moment1)) CHECK(v == 0);
    if (p.name == "pos_embed")
      CHECK(values(after, p.name) == floats(resize_pos_embed(values(before, p.name), 2, 4, 16)));
    else if (!p.name.starts_with("head."))
      CHECK(values(after, p.name) == values(before, p.name));
  }
  Trainer average(options(from + "--weights ema"));
  CHECK(values(average, "norm_f.weight") == values(before, "norm_f.weight", Role::ema));
  CHECK(values(average, "norm_f.weight") != values(before, "norm_f.weight"));
  CHECK(input_error([&] {
          Trainer(options(from + "--patch-size 8"));
        }).find("has patches of 16 pixels, this model of 8; --resample-patches") !=
        std::string::npos);
  Trainer finer(options(from + "--patch-size 8 --resample-patches"));
  CHECK(finer.params().find("patch_embed.proj.weight")->shape == Shape({16, 3, 8, 8}));
  CHECK(input_error([&] { Trainer(options(from + "--depth 3")); }).find("is of another model") !=
        std::string::npos);
  // It evaluates with its classes, without being told.
  Trainer evaluated(
      options("--data-set SYNTHETIC --eval --resume " + (folder / "a/checkpoint.safetensors")));
  CHECK(evaluated.evaluate().predictions.size() == 600);
}

TEST_CASE("fine-tuning: what is frozen gets no gradient, and the rest gets the same") {
  for (const auto& [name, change] : switches()) {
    CAPTURE_BOUND(name);
    VimConfig c = small();
    change(c);
    if (c.final_pool_type == "all") continue;
    Model m(c, DType::f64, false);
    const std::vector<Param> all = m.store.all();
    m.gradients();
    std::vector<Values> whole;
    for (const Param& p : all) whole.push_back(m.ctx.values(m.store.part(Role::gradient, p)));
    // Each parameter by itself; and every second one.
    for (size_t alone = 0; alone <= all.size(); ++alone) {
      std::vector<float> rates(all.size());
      for (size_t k = 0; k < all.size(); ++k)
        rates[k] = alone < all.size() ? k == alone : k % 2 == 0;
      m.store.set_rates(m.ctx, rates);
      m.ctx.reserve(m.ctx.measure([&] { m.gradients(); }));
      m.gradients();
      for (size_t k = 0; k < all.size(); ++k) {
        CAPTURE(all[k].name);
        const Values g = m.ctx.values(m.store.part(Role::gradient, all[k]));
        REQUIRE(g == (rates[k] > 0 ? whole[k] : Values(g.size())));
      }
    }
  }
}

TEST_CASE("fine-tuning: a step changes what is not frozen as if all were trained") {
  const OneThread alone;
  std::vector<std::pair<std::string, std::string>> devices = {{"cpu", "fp32"}};
  if (available(Backend::cuda)) devices = {{"cuda", "fp32"}, {"cuda", "bf16"}};
  for (const auto& [device, precision] : devices)
    // The second leaves out all that the scan's inputs in the first layer depend on.
    for (const std::string pattern :
         {"layers.0.*,pos_embed", "*embed*,*norm*,*in_proj*,*conv1d*,*x_proj*",
          "*A_*,*.D*,head*"}) {
      CAPTURE(pattern);
      const std::string line = small_model + briefly +
                               "--batch-size 20 --d-state 16 --clip-grad 0 --device " + device +
                               " --precision " + precision;
      Trainer whole(options(line)), part(options(line + " --freeze " + pattern));
      const Trainer& start = part;
      std::map<std::string, Values> before;
      for (const Param& p : start.params().all()) before[p.name] = values(part, p.name);
      whole.train(1);
      part.train(1);
      int frozen = 0;
      for (const Param& p : part.params().all()) {
        CAPTURE(p.name);
        frozen += part.params().frozen(p);
        CHECK(values(part, p.name) ==
              (part.params().frozen(p) ? before[p.name] : values(whole, p.name)));
        CHECK(values(whole, p.name) != before[p.name]);
      }
      CHECK(frozen > 2);
    }
}

TEST_CASE("fine-tuning: which parameters learn, and how fast") {
  const ParamStore params = declared(small());
  auto rates = [&](const std::string& line) {
    const std::vector<float> r = learning_rates(options(line), params);
    std::map<std::string, double> named;
    for (size_t k = 0; k < r.size(); ++k) named[params.all()[k].name] = r[k];
    return named;
  };
  CHECK(rates("").empty());
  auto r = rates("--layer-decay 0.5");
  CHECK(r.at("head.weight") == 1);
  CHECK(r.at("norm_f.weight") == 1);
  CHECK(r.at("layers.1.mixer.A_log") == 0.5);
  CHECK(r.at("layers.0.norm.weight") == 0.25);
  CHECK(r.at("pos_embed") == 0.125);
  CHECK(r.at("patch_embed.proj.bias") == 0.125);
  r = rates("--linear-probe");
  for (const auto& [name, rate] : r) CHECK(rate == (name.starts_with("head.") ? 1 : 0));
  r = rates("--freeze layers.0.*,pos_embed --freeze *.A_b_log --layer-decay 0.5");
  CHECK(r.at("layers.0.mixer.D") == 0);
  CHECK(r.at("pos_embed") == 0);
  CHECK(r.at("layers.1.mixer.A_b_log") == 0);
  CHECK(r.at("layers.1.mixer.D") == 0.5);
  CHECK(input_error([&] {
          rates("--freeze layer.*");
        }).find("--freeze layer.* fits no parameter") == 0);
  CHECK(input_error([&] { rates("--freeze *"); }) == "--freeze leaves nothing to train");
}

TEST_CASE("fine-tuning: options that do not go together") {
  auto error = [](const std::string& line) { return input_error([&] { options(line); }); };
  CHECK(error("--finetune a --resume b").find("choose one") != std::string::npos);
  CHECK(error("--finetune https://x.org/a.pth").find("download it first") != std::string::npos);
  CHECK(error("--weights ema") == "--weights has no effect without --finetune or --eval");
  CHECK(error("--resample-patches") == "--resample-patches has no effect without --finetune");
  CHECK(error("--linear-probe --freeze x").find("--linear-probe freezes everything") == 0);
  CHECK(error("--layer-decay 0") == "--layer-decay is 0; it must be 0.1 to 1");
  CHECK(error("--train-fraction 1.5").find("--train-fraction is 1.5; it must be") == 0);
}

TEST_CASE("data: some classes, some pictures") {
  const Dataset whole = synthetic(true, 500);
  Dataset part = whole;
  keep_classes(part, {whole.class_names[7], whole.class_names[2]});
  CHECK(part.classes == 2);
  CHECK(part.class_names[0] == whole.class_names[7]);
  CHECK(part.count() == 100);
  const int64_t size = 3 * 32 * 32;
  CHECK(std::ssize(part.images) == part.count() * size);
  int64_t k = 0;
  for (int64_t i = 0; i < whole.count(); ++i) {
    if (whole.labels[i] != 7 && whole.labels[i] != 2) continue;
    CHECK(part.labels[k] == (whole.labels[i] == 7 ? 0 : 1));
    CHECK(std::equal(part.images.begin() + k * size, part.images.begin() + (k + 1) * size,
                     whole.images.begin() + i * size));
    ++k;
  }
  CHECK(k == part.count());
  auto refused = [&](const std::vector<std::string>& names) {
    return input_error([&] {
      Dataset d = whole;
      keep_classes(d, names);
    });
  };
  CHECK(refused({"disc", "rink"}).find("SYNTHETIC has no class 'rink'. The nearest names: ring") ==
        0);
  CHECK(refused({"disc", "disc"}) == "--classes names disc twice");
  CHECK(refused({"disc"}).find("needs two names") != std::string::npos);

  // Files instead of pictures; a tenth is part of a fifth.
  Dataset files{.name = "f",
                .classes = 2,
                .height = 0,
                .width = 0,
                .class_names = {"a", "b"},
                .images = {},
                .labels = {}};
  for (int i = 0; i < 1000; ++i) {
    files.files.push_back(std::to_string(i));
    files.labels.push_back(i % 10 == 0);
  }
  Dataset tenth = files, fifth = files, one = files;
  keep_fraction(tenth, 0.1);
  keep_fraction(fifth, 0.2);
  keep_fraction(one, 1e-6);
  CHECK(one.count() == 2);
  CHECK(tenth.count() == 100);
  CHECK(std::count(tenth.labels.begin(), tenth.labels.end(), 1) == 10);
  const std::set<std::string> more(fifth.files.begin(), fifth.files.end());
  int last = -1;
  for (size_t i = 0; i < tenth.files.size(); ++i) {
    const int number = std::stoi(tenth.files[i]);
    CHECK(number > last);
    CHECK(tenth.labels[i] == (number % 10 == 0));
    CHECK(more.count(tenth.files[i]));
    last = number;
  }
  CHECK(more.size() == 200);
}

TEST_CASE("resume: a training of PyTorch's goes on, with its weights, its Adam and its epoch") {
  const OneThread alone;
  const TemporaryFolder folder;
  const std::string line =
      "--data-set SYNTHETIC --batch-size 50 --epochs 9 --print-every 1000000 --lr 1e-3 "
      "--unscale-lr --sched constant --warmup-epochs 0 --weight-decay 0 --clip-grad 0 --model-ema ";
  const PthTraining file = read_pth_training(training);
  REQUIRE(file.progress);
  Trainer t(options(line + "--resume " + training + " --output_dir " + (folder / "a")));
  const uint64_t start = 8 * 200;  // epochs 0 to 7 are over
  CHECK(t.steps_done() == start);
  // By hand: the file has one group of the parameters in the order of its weights.
  const PthValue f = read_pth(training);
  const PthValue& state = *f.find("optimizer")->find("state");
  const PthValue& model = *f.find("model");
  size_t number = 0;
  for (size_t i = 0; i + 1 < model.items.size(); i += 2) {
    const std::string name = model.items[i].text;
    if (name.starts_with("rope.")) continue;
    CAPTURE(name);
    CHECK(state.items[2 * number].integer == static_cast<int64_t>(number));
    const PthValue& own = state.items[2 * number++ + 1];
    CHECK(values(t, name, Role::moment1) == own.find("exp_avg")->tensor->stored().values());
    CHECK(values(t, name, Role::moment2) == own.find("exp_avg_sq")->tensor->stored().values());
    CHECK(values(t, name, Role::ema) == file.content.at("ema." + name).values());
  }
  CHECK(number == t.params().all().size());
  // The next step is Adam's step t + 1 of that file, whatever our own count is.
  t.train(start + 1);
  const double count = static_cast<double>(file.progress->optimizer_steps) + 1;
  const double c1 = 1 / (1 - std::pow(0.9, count)), c2 = 1 / (1 - std::pow(0.999, count));
  for (const char* name : {"head.weight", "layers.1.mixer.A_log", "pos_embed"}) {
    CAPTURE(name);
    const Values before = file.content.at(name).values(), after = values(t, name),
                 m = values(t, name, Role::moment1), v = values(t, name, Role::moment2);
    double worst = 0;
    for (size_t i = 0; i < before.size(); ++i) {
      const double right = before[i] - 1e-3 * m[i] * c1 / (std::sqrt(v[i] * c2) + 1e-8);
      worst = std::max(worst, std::abs(right - after[i]));
    }
    CHECK(worst < 2e-7);
    CHECK(before != after);
  }
  // And our own checkpoint of that goes on in the same way.
  Trainer again(options(line + "--resume " + (folder / "a/checkpoint.safetensors")));
  again.train(start + 2);
  t.train(start + 2);
  for (const Role role : {Role::master, Role::moment1, Role::moment2, Role::ema})
    CHECK(again.context().values(again.params().flat(role)) ==
          t.context().values(t.params().flat(role)));
}

TEST_CASE("eval: weights and average of a PyTorch checkpoint, whose model is told by its shapes") {
  const OneThread alone;
  const std::string line = "--data-set SYNTHETIC --eval --resume " + training;
  Trainer weights(options(line)), average(options(line + " --weights ema"));
  const PthTraining file = read_pth_training(training);
  CHECK(values(weights, "norm_f.weight") == file.content.at("norm_f.weight").values());
  CHECK(values(average, "norm_f.weight") == file.content.at("ema.norm_f.weight").values());
  const Described d = described(read_checkpoint(training));
  CHECK(d.guessed);
  CHECK(std::get<VimConfig>(d.config).embed_dim == 32);
  Checkpoint nothing;
  nothing.path = "file";
  CHECK(input_error([&] { described(nothing); }).find("file: does not say which model it is of") ==
        0);
}
