// Reading CIFAR, the drawn data set, the order of an epoch, and the making of batches.
#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <set>
#include <unistd.h>

#include "apps/train_cifar/trainer.h"
#include "engine/data/dataset.h"
#include "kernels/augment/augment.h"
#include "tests/support.h"

#if __has_include(<zlib.h>)
#include <zlib.h>
#define KRAIT_TEST_TAR 1
#endif

using namespace krait;
namespace fs = std::filesystem;

namespace {

struct TempFolder {
  fs::path path;
  TempFolder() : path(fs::temp_directory_path() / cat("krait_data_test_", getpid())) {
    fs::remove_all(path);
    fs::create_directories(path);
  }
  ~TempFolder() { fs::remove_all(path); }
  std::string operator/(const char* name) const { return (path / name).string(); }
};

// A CIFAR file: record r has label r % classes and its pixels are all r % 251, but for the first.
std::string cifar_bytes(int64_t records, int label_bytes, int classes) {
  const int64_t record = label_bytes + 3072;
  std::string s(records * record, '\0');
  for (int64_t r = 0; r < records; ++r) {
    std::fill_n(s.begin() + r * record + label_bytes, 3072, static_cast<char>(r % 251));
    s[r * record + label_bytes - 1] = static_cast<char>(r % classes);
    s[r * record + label_bytes] = 77;
  }
  return s;
}
void write(const fs::path& path, const std::string& bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}
#if KRAIT_TEST_TAR
void zip(const std::string& path, const std::string& bytes) {
  gzFile f = gzopen(path.c_str(), "wb1");
  REQUIRE(gzwrite(f, bytes.data(), static_cast<unsigned>(bytes.size())) > 0);
  gzclose(f);
}
#endif
std::string tar_entry(const std::string& name, const std::string& bytes) {
  std::string h(512, '\0');
  h.replace(0, name.size(), name);
  char field[16];
  std::snprintf(field, sizeof field, "%011zo", bytes.size());
  h.replace(124, 11, field);
  h[156] = '0';
  h.replace(148, 8, 8, ' ');
  unsigned sum = 0;
  for (unsigned char c : h) sum += c;
  std::snprintf(field, sizeof field, "%06o", sum);
  h.replace(148, 7, field, 7);
  return h + bytes + std::string((512 - bytes.size() % 512) % 512, '\0');
}

// `n` pictures of `side` x `side`, every byte different from its neighbours.
Dataset numbered(int64_t n, int side) {
  Dataset d;
  d.name = "numbered";
  d.height = d.width = side;
  for (int64_t i = 0; i < n; ++i) d.labels.push_back(static_cast<int32_t>(i % 10));
  for (int64_t k = 0; k < n * 3 * side * side; ++k)
    d.images.push_back(static_cast<uint8_t>(k * 37 % 253));
  d.mean = {0.4, 0.5, 0.6};
  d.stddev = {0.2, 0.25, 0.3};
  return d;
}
AugmentOptions options_for(const Dataset& d) {
  AugmentOptions o;
  o.size = d.height;
  o.mean = d.mean;
  o.stddev = d.stddev;
  return o;
}
double normalised(const Dataset& d, int64_t picture, int c, int y, int x) {
  if (y < 0 || y >= d.height || x < 0 || x >= d.width)  // a pixel with the mean, as a byte
    return (std::nearbyint(255 * d.mean[c]) / 255 - d.mean[c]) / d.stddev[c];
  const uint8_t v = d.images[((picture * 3 + c) * d.height + y) * d.width + x];
  return (v / 255.0 - d.mean[c]) / d.stddev[c];
}

}  // namespace

TEST_CASE("CIFAR-10: a folder, a folder in a folder, and what is wrong with a file") {
  const TempFolder temp;
  const std::string good = cifar_bytes(10000, 1, 10);
  write(temp / "nested/cifar-10-batches-bin/test_batch.bin", good);
  Dataset d = load_cifar10(temp / "nested", false);
  CHECK(d.count() == 10000);
  CHECK(d.labels[9999] == 9);
  CHECK(d.class_names.size() == 10);
  CHECK(d.images[3072 * 300] == 77);
  CHECK(d.images[3072 * 300 + 1] == 300 % 251);
  CHECK(d.mean[0] == doctest::Approx(0.4914));

  for (int k = 1; k <= 5; ++k)
    fs::create_symlink(temp / "nested/cifar-10-batches-bin/test_batch.bin",
                       temp / cat("data_batch_", k, ".bin").c_str());
  d = load_cifar10(temp.path.string(), true);
  CHECK(d.count() == 50000);
  CHECK(d.images.size() == 50000 * 3072);
  CHECK(d.labels[49998] == 8);

  fs::remove(temp / "data_batch_3.bin");
  CHECK_THROWS_WITH_AS(load_cifar10(temp.path.string(), true),
                       doctest::Contains("lacks data_batch_3.bin (tools/get_cifar10.sh DIR"),
                       InputError);
  CHECK_THROWS_WITH_AS(load_cifar10(temp / "nowhere", true),
                       doctest::Contains("looked for data_batch_1.bin ... data_batch_5.bin"),
                       InputError);
  CHECK_THROWS_WITH_AS(load_cifar10(temp / "nowhere", false),
                       doctest::Contains("tools/get_cifar10.sh DIR gets them"), InputError);

  write(temp / "cut/test_batch.bin", good.substr(0, 1000000));
  CHECK_THROWS_WITH_AS(
      load_cifar10(temp / "cut", false),
      doctest::Contains("test_batch.bin is cut off: 1000000 bytes, expected 30730000"), InputError);
  std::string bad = good;
  bad[3073 * 12] = 10;
  write(temp / "label/test_batch.bin", bad);
  CHECK_THROWS_WITH_AS(
      load_cifar10(temp / "label", false),
      doctest::Contains("test_batch.bin: record 12 has label 10, the largest is 9"), InputError);
}

TEST_CASE("CIFAR-100: fine labels") {
  const TempFolder temp;
  write(temp / "cifar-100-binary/test.bin", cifar_bytes(10000, 2, 100));
  const Dataset d = load_cifar100(temp.path.string(), false);
  CHECK(d.count() == 10000);
  CHECK(d.labels[9999] == 99);
  CHECK(d.class_names.size() == 100);
  CHECK(d.class_names[99] == "worm");
  CHECK(std::is_sorted(d.class_names.begin(), d.class_names.end()));
  CHECK_THROWS_WITH_AS(load_cifar100(temp.path.string(), true), doctest::Contains("train.bin"),
                       InputError);
}

TEST_CASE("CIFAR-100: trained and evaluated by the same options as CIFAR-10") {
  const TempFolder temp;
  write(temp / "cifar-100-binary/train.bin", cifar_bytes(50000, 2, 100));
  write(temp / "cifar-100-binary/test.bin", cifar_bytes(10000, 2, 100));
  TrainOptions o;
  o.model = "vim_micro_patch4_32";
  o.model_given = true;
  o.data_set = "CIFAR100";
  o.data_path = temp.path.string();
  o.depth = 1;
  o.embed_dim = 8;
  o.patch_size = 16;
  o.batch_size = 500;
  o.epochs = 1;
  o.lr = 0.1;
  o.warmup_epochs = 0;
  o.device = "cpu";
  o.output_dir = temp / "out";
  o.print_every = 1000000;
  Trainer t(o);
  t.train(1);
  CHECK(t.last_train_loss() == doctest::Approx(4.6).epsilon(0.05));  // ln 100
  t.train(5);
  const Evaluation e = t.evaluate();
  CHECK(e.loss == doctest::Approx(4.61).epsilon(0.02));  // labels and pixels have nothing in common
  CHECK(e.acc5 >= e.acc1);
  o.eval = true;
  o.resume = temp / "out/checkpoint.safetensors";
  fs::remove(temp / "cifar-100-binary/train.bin");
  CHECK(Trainer(o).evaluate().loss == e.loss);
}

#if KRAIT_TEST_TAR
TEST_CASE("CIFAR-100 out of the archive") {
  const TempFolder temp;
  zip(temp / "cifar-100-binary.tar.gz",
      tar_entry("cifar-100-binary/test.bin", cifar_bytes(10000, 2, 100)) + std::string(1024, '\0'));
  for (const std::string& from : {temp.path.string(), temp / "cifar-100-binary.tar.gz"}) {
    const Dataset d = load_cifar100(from, false);
    CHECK(d.count() == 10000);
    CHECK(d.labels[1234] == 34);
    CHECK(d.images[3072 * 9999 + 5] == 9999 % 251);
  }
  CHECK_THROWS_WITH_AS(load_cifar100(temp.path.string(), true),
                       doctest::Contains("no train.bin in"), InputError);
}
TEST_CASE("CIFAR-10 out of the archive, whole or damaged") {
  const TempFolder temp;
  const std::string good = cifar_bytes(10000, 1, 10);
  const std::string tar = tar_entry("cifar-10-batches-bin/readme.html", "<html>") +
                          tar_entry("cifar-10-batches-bin/test_batch.bin", good) +
                          std::string(1024, '\0');
  const std::string archive = temp / "cifar-10-binary.tar.gz";
  zip(archive, tar);
  for (const std::string& from : {archive, temp.path.string()}) {
    const Dataset d = load_cifar10(from, false);
    CHECK(d.count() == 10000);
    CHECK(d.labels[123] == 3);
    CHECK(d.images[3072 * 9999 + 5] == 9999 % 251);
  }
  CHECK_THROWS_WITH_AS(load_cifar10(archive, true), doctest::Contains("no data_batch_1.bin in"),
                       InputError);
  fs::resize_file(archive, fs::file_size(archive) / 2);
  CHECK_THROWS_WITH_AS(load_cifar10(archive, false), doctest::Contains("cut off"), InputError);
  write(archive, tar.substr(0, 100000));  // a tar that was never compressed
  CHECK_THROWS_WITH_AS(load_cifar10(archive, false), doctest::Contains("cut off"), InputError);
  write(archive, std::string(2000, 'x'));
  CHECK_THROWS_WITH_AS(load_cifar10(archive, false), doctest::Contains("not a tar archive"),
                       InputError);
}
#endif

TEST_CASE("the drawn data set: always the same, balanced, train and test different") {
  const Dataset a = synthetic(true, 200), b = synthetic(true, 300), test = synthetic(false, 200);
  CHECK(a.images == std::vector<uint8_t>(b.images.begin(), b.images.begin() + 200 * 3072));
  CHECK(a.images != test.images);
  CHECK(a.mean == test.mean);
  for (int c = 0; c < 10; ++c) CHECK(std::count(a.labels.begin(), a.labels.end(), c) == 20);
  uint64_t hash = 14695981039346656037u;  // FNV-1a: the same bytes on every machine
  for (uint8_t v : a.images) hash = (hash ^ v) * 1099511628211u;
  CHECK(hash == 14967808253230471881u);
  for (int c = 0; c < 3; ++c) {
    CHECK(a.mean[c] == doctest::Approx(0.5).epsilon(0.1));
    CHECK(a.stddev[c] > 0.15);
    CHECK(a.stddev[c] < 0.35);
  }
}

TEST_CASE("the order of an epoch is a permutation of its own") {
  Context ctx(Backend::cpu, 1 << 20);
  const Dataset d = numbered(100, 4);
  DeviceDataset device(ctx, d);
  StepState state{.first = 0};
  ctx.state = &state;
  AugmentOptions o = options_for(d);
  auto order = [&](uint64_t seed, uint64_t epoch) {  // seen through the first pixels
    device.shuffle(ctx, seed, epoch);
    const auto batch = device.batch(ctx, 100, o, false, DType::f64);
    std::vector<double> seen;
    for (int64_t i = 0; i < 100; ++i)
      for (int64_t k = 0; k < 48; ++k) seen.push_back(batch.images.as<double>()[i * 48 + k]);
    return seen;
  };
  const auto first = order(1, 0);
  CHECK(first == order(1, 0));
  CHECK(first != order(1, 1));
  CHECK(first != order(2, 0));
  std::multiset<std::vector<double>> got, want;
  for (int64_t i = 0; i < 100; ++i)
    got.insert({first.begin() + i * 48, first.begin() + (i + 1) * 48});
  device.in_order(ctx);
  const auto plain = device.batch(ctx, 100, o, false, DType::f64);
  for (int64_t i = 0; i < 100; ++i) {
    const double* p = plain.images.as<double>() + i * 48;
    want.insert({p, p + 48});
  }
  CHECK(got == want);
}

TEST_CASE("repeated augmentation: each picture so many times in a row, the rest not at all") {
  const auto once = epoch_order(100, 3, 4, 1), thrice = epoch_order(100, 3, 4, 3);
  REQUIRE(thrice.size() == 100);
  for (int i = 0; i < 100; ++i) CHECK(thrice[i] == once[i / 3]);
  CHECK_THROWS_AS(epoch_order(100, 3, 4, 0), InputError);
}

TEST_CASE("a batch for evaluation is the pictures, normalised") {
  Context ctx(Backend::cpu, 1 << 20);
  const Dataset d = numbered(9, 8);
  const DeviceDataset device(ctx, d);
  StepState state{.first = 4, .mix = Mix::mixup, .lambda = 0.5f};  // mixing is for training only
  ctx.state = &state;
  AugmentOptions o = options_for(d);
  o.mix = true;
  const auto batch = device.batch(ctx, 5, o, false, DType::f32);
  CHECK(batch.images.shape() == Shape({5, 3, 8, 8}));
  CHECK(batch.targets.shape() == Shape({5, 10}));
  const float* v = batch.images.as<float>();
  double worst = 0;
  for (int64_t i = 0; i < 5; ++i)
    for (int c = 0; c < 3; ++c)
      for (int y = 0; y < 8; ++y)
        for (int x = 0; x < 8; ++x)
          worst = std::max(worst, std::abs(*v++ - normalised(d, i + 4, c, y, x)));
  CHECK(worst < 1e-6);
  for (int64_t i = 0; i < 5; ++i)
    for (int c = 0; c < 10; ++c)
      CHECK(batch.targets.as<float>()[i * 10 + c] == (c == (i + 4) % 10 ? 1.0f : 0.0f));
}

namespace {

// `n` values scaled to S by a triangle that is as wide as a pixel of the coarser side, to bytes.
std::vector<double> scaled(const std::vector<double>& v, int S) {
  const int n = static_cast<int>(v.size());
  const double scale = static_cast<double>(n) / S, wide = std::max(scale, 1.0);
  std::vector<double> out;
  for (int k = 0; k < S; ++k) {
    double sum = 0, weights = 0;
    for (int i = 0; i < n; ++i) {
      const double w = std::max(1 - std::abs(i + 0.5 - (k + 0.5) * scale) / wide, 0.0);
      sum += w * v[i];
      weights += w;
    }
    out.push_back(std::floor(sum / weights + 0.5));
  }
  return out;
}

}  // namespace

TEST_CASE("scaling is by rows, then by columns, each rounded to bytes") {
  Context ctx(Backend::cpu, 1 << 20);
  const Dataset d = numbered(2, 4);
  const DeviceDataset device(ctx, d);
  StepState state;
  ctx.state = &state;
  AugmentOptions o = options_for(d);
  for (int S : {2, 8, 16}) {  // weights of whole eighths: no byte depends on how they are rounded
    o.size = S;
    const auto batch = device.batch(ctx, 2, o, false, DType::f64);
    const uint8_t* in = d.images.data() + (3 + 2) * 16;  // picture 1, channel 2
    std::vector<std::vector<double>> rows;
    for (int y = 0; y < 4; ++y) rows.push_back(scaled({in + y * 4, in + y * 4 + 4}, S));
    double worst = 0;
    for (int x = 0; x < S; ++x) {
      const auto column = scaled({rows[0][x], rows[1][x], rows[2][x], rows[3][x]}, S);
      for (int y = 0; y < S; ++y)
        worst = std::max(worst, std::abs(batch.images.as<double>()[((3 + 2) * S + y) * S + x] -
                                         (column[y] / 255 - d.mean[2]) / d.stddev[2]));
    }
    CAPTURE(S);
    CHECK(worst < 1e-12);
  }
}

TEST_CASE("crop and flip: each picture is a shifted, maybe mirrored one, and every choice occurs") {
  Context ctx(Backend::cpu, 1 << 22);
  const Dataset d = numbered(64, 6);
  const DeviceDataset device(ctx, d);
  StepState state{.seed = 5};
  ctx.state = &state;
  AugmentOptions o = options_for(d);
  o.crop_padding = 2;
  std::set<std::array<int, 3>> chosen;
  for (state.step = 0; state.step < 8; ++state.step) {
    const auto batch = device.batch(ctx, 64, o, true, DType::f64);
    for (int64_t i = 0; i < 64; ++i) {
      const double* v = batch.images.as<double>() + i * 108;
      int found = 0;
      for (int dy = -2; dy <= 2; ++dy)
        for (int dx = -2; dx <= 2; ++dx)
          for (int mirrored : {0, 1}) {
            bool same = true;
            for (int c = 0; c < 3 && same; ++c)
              for (int y = 0; y < 6 && same; ++y)
                for (int x = 0; x < 6 && same; ++x) {
                  const int from = (mirrored ? 5 - x : x) + dx;
                  same =
                      std::abs(v[(c * 6 + y) * 6 + x] - normalised(d, i, c, y + dy, from)) < 1e-9;
                }
            if (same) chosen.insert({dy, dx, mirrored});
            found += same;
          }
      CHECK(found == 1);
    }
  }
  CHECK(chosen.size() == 50);
}

TEST_CASE("mixup and CutMix mix the batch with itself reversed") {
  Context ctx(Backend::cpu, 1 << 20);
  const Dataset d = numbered(6, 8);
  const DeviceDataset device(ctx, d);
  StepState state{.seed = 3, .step = 11};
  ctx.state = &state;
  AugmentOptions o = options_for(d);
  o.smoothing = 0.1;
  o.mix = true;
  const auto plain = device.batch(ctx, 6, o, true, DType::f64);
  const double *a = plain.images.as<double>(), *t = plain.targets.as<double>();
  CHECK(t[0] == doctest::Approx(0.91));
  CHECK(t[1] == doctest::Approx(0.01));

  state.mix = Mix::mixup;
  state.lambda = 0.75f;
  const auto mixed = device.batch(ctx, 6, o, true, DType::f64);
  double worst = 0;
  for (int64_t i = 0; i < 6; ++i) {
    for (int64_t k = 0; k < 192; ++k)
      worst = std::max(worst, std::abs(mixed.images.as<double>()[i * 192 + k] -
                                       (0.75 * a[i * 192 + k] + 0.25 * a[(5 - i) * 192 + k])));
    for (int64_t k = 0; k < 10; ++k)
      worst = std::max(worst, std::abs(mixed.targets.as<double>()[i * 10 + k] -
                                       (0.75 * t[i * 10 + k] + 0.25 * t[(5 - i) * 10 + k])));
  }
  CHECK(worst < 1e-12);

  state.mix = Mix::cutmix;
  state.box_x0 = 1, state.box_x1 = 5, state.box_y0 = 2, state.box_y1 = 6;
  const auto cut = device.batch(ctx, 6, o, true, DType::f64);
  bool same = true;
  for (int64_t i = 0; i < 6; ++i)
    for (int64_t k = 0; k < 192; ++k) {
      const int64_t y = k % 64 / 8, x = k % 8;
      const bool inside = x >= 1 && x < 5 && y >= 2 && y < 6;
      same = same && cut.images.as<double>()[i * 192 + k] == a[(inside ? 5 - i : i) * 192 + k];
    }
  CHECK(same);
}

namespace {

// Options that between them use everything.
std::vector<AugmentOptions> many_options(const Dataset& d) {
  std::vector<AugmentOptions> all(7, options_for(d));
  for (AugmentOptions& o : all) {
    o.smoothing = 0.1;
    o.mix = true;
    o.mixing = {.mixup = 0.8, .cutmix = 1.0, .prob = 0.9};
  }
  all[1].size = 21;
  all[2].crop = Crop::resized;
  all[2].interpolation = Interpolation::random;
  all[2].auto_augment = "rand-m9-mstd0.5-inc1";
  all[2].mixing.mode = MixMode::elem;
  all[2].erase = {.prob = 0.5, .mode = EraseMode::pixel, .count = 2};
  all[3].crop = Crop::simple;
  all[3].interpolation = Interpolation::bicubic;
  all[3].three_augment = true;
  all[3].color_jitter = 0.3;
  all[3].mixing.mode = MixMode::pair;
  all[4].pad = Pad::reflect;
  all[4].auto_augment = "cifar10";
  all[4].erase = {.prob = 1, .mode = EraseMode::rand, .count = 3};
  all[4].mixing = {.mode = MixMode::elem, .cutmix_minmax = {0.2, 0.8}};
  all[5].crop = Crop::published;
  all[5].size = 30;
  all[5].auto_augment = "v0r-mstd0.5";
  all[6].crop = Crop::none;
  all[6].auto_augment = "original";
  all[6].erase = {.prob = 1, .mode = EraseMode::constant};
  return all;
}

// Images and targets of `count` batches of 14, as bits, by a row of the kernels ("": the default).
std::vector<uint32_t> batches(Context& c, const Dataset& d, const AugmentOptions& o,
                              const std::string& row, uint64_t step, int count) {
  if (!row.empty()) c.force("make_batch", row), c.force("augment_pictures", row);
  const DeviceDataset device(c, d);
  const Tensor on_device = c.persistent({int64_t{sizeof(StepState)}}, DType::u8);
  std::vector<uint32_t> bits;
  for (int k = 0; k < count; ++k) {
    StepState state{.seed = 9, .step = step + k, .first = 2};
    if (o.mix) draw_mix(state, o.mixing, o.size);
    c.upload(on_device, &state, sizeof state);
    c.state = on_device.as<StepState>();
    const auto batch = device.batch(c, 14, o, true, DType::f32);
    for (const Tensor& t : {batch.images, batch.targets}) {
      const auto some = c.download<uint32_t>(t);
      bits.insert(bits.end(), some.begin(), some.end());
    }
  }
  return bits;
}

}  // namespace

TEST_CASE("the rows of augment_pictures and make_batch give the same bits, with every option") {
  Context ctx(Backend::cpu, 1 << 22),
      gpu_or_cpu(available(Backend::cuda) ? Backend::cuda : Backend::cpu, 1 << 22);
  if (!available(Backend::cuda)) MESSAGE("1 GPU check skipped: no GPU here");
  const Dataset d = numbered(20, 16);
  for (const AugmentOptions& o : many_options(d)) {
    const auto reference = batches(ctx, d, o, "reference", 4, 6);
    CHECK(batches(ctx, d, o, "openmp", 4, 6) == reference);
    CHECK(batches(gpu_or_cpu, d, o, "", 4, 6) == reference);
    CHECK(batches(ctx, d, o, "openmp", 5, 6) != reference);
    // A step depends on its number only: what came before does not matter.
    const auto last = batches(ctx, d, o, "openmp", 9, 1);
    CHECK(std::equal(last.begin(), last.end(), reference.end() - std::ssize(last)));
  }
}

TEST_CASE("the choice of mixing follows timm's Mixup") {
  StepState state{.seed = 42};
  const MixOptions both{.mixup = 0.8, .cutmix = 1.0};
  int cutmix = 0, mixup = 0;
  double sum = 0, squares = 0, box_sum = 0;
  constexpr int n = 20000, S = 32;
  for (state.step = 0; state.step < n; ++state.step) {
    draw_mix(state, both, S);
    const double lambda = state.lambda;
    REQUIRE((lambda >= 0 && lambda <= 1));
    if (state.mix == Mix::mixup) {
      ++mixup;
      sum += lambda;
      squares += lambda * lambda;
      REQUIRE(state.box_x1 == 0);
    } else {
      REQUIRE(state.mix == Mix::cutmix);
      ++cutmix;
      REQUIRE((0 <= state.box_x0 && state.box_x0 <= state.box_x1 && state.box_x1 <= S));
      REQUIRE((0 <= state.box_y0 && state.box_y0 <= state.box_y1 && state.box_y1 <= S));
      const double area = (state.box_x1 - state.box_x0) * (state.box_y1 - state.box_y0);
      REQUIRE(lambda == doctest::Approx(1 - area / (S * S)));
      box_sum += area / (S * S);
    }
  }
  CHECK(mixup + cutmix == n);
  CHECK(cutmix == doctest::Approx(n / 2).epsilon(0.03));
  CHECK(sum / mixup == doctest::Approx(0.5).epsilon(0.02));
  // The variance of Beta(a, a) is 1 / (4 (2a + 1)).
  CHECK(squares / mixup - std::pow(sum / mixup, 2) == doctest::Approx(1 / 10.4).epsilon(0.03));
  CHECK(box_sum / cutmix > 0.25);  // the mean of 1 - lambda is 1/2, less what clipping takes
  CHECK(box_sum / cutmix < 0.5);

  auto spread = [&](double alpha) {
    double s = 0, q = 0;
    for (state.step = 0; state.step < n; ++state.step) {
      draw_mix(state, {.mixup = alpha}, S);
      s += state.lambda;
      q += state.lambda * state.lambda;
    }
    return q / n - s / n * s / n;
  };
  for (double alpha : {0.05, 1.0, 4.0})
    CHECK(spread(alpha) == doctest::Approx(1 / (4 * (2 * alpha + 1))).epsilon(0.04));

  int mixed = 0;
  for (state.step = 0; state.step < n; ++state.step) {
    draw_mix(state, {.cutmix = 1, .prob = 0.25}, S);
    mixed += state.mix == Mix::cutmix;
    if (state.mix == Mix::none) REQUIRE(state.lambda == 1);
  }
  CHECK(mixed == doctest::Approx(n / 4).epsilon(0.05));
  draw_mix(state, {}, S);
  CHECK(state.mix == Mix::none);
}
