// Augmentation: each operation against timm and Pillow (tests/golden/augment), what is drawn, and
// batches.
#include <algorithm>
#include <array>
#include <cmath>
#include <doctest/doctest.h>

#include "engine/data/policy.h"
#include "engine/safetensors.h"
#include "kernels/augment/erase.h"
#include "kernels/augment/make_picture.h"
#include "tests/support.h"

using namespace krait;

namespace {

const std::string golden = KRAIT_SOURCE_DIR "/tests/golden/augment/";
const uint8_t cifar_fill[3] = {125, 122, 114};

const uint8_t* bytes_of(const StoredTensor& t) {
  return reinterpret_cast<const uint8_t*>(t.bytes.data());
}
// Where a picture of `side` x `side` and its copies lie while a Solo works on it.
struct Table {
  std::vector<uint8_t> now, other, table = std::vector<uint8_t>(768);
  std::vector<int32_t> counts = std::vector<int32_t>(768), weights;
  Canvas canvas;
  Table(const uint8_t* picture, int side)
      : now(picture, picture + 3 * side * side),
        other(now.size()),
        canvas{now.data(), other.data(), 3, side, cifar_fill, counts.data(), table.data()} {}
};
int different(const uint8_t* a, const uint8_t* b, size_t n) {
  int count = 0;
  for (size_t i = 0; i < n; ++i) count += a[i] != b[i];
  return count;
}
// Bytes of all pictures of `want` that differ from `list` applied to the inputs.
int difference(const SafeTensors& file, const StoredTensor& want, const OperationList& list) {
  const StoredTensor& in = file.at("in.images");
  int count = 0;
  for (int64_t i = 0; i < in.shape[0]; ++i) {
    Table t(bytes_of(in) + i * 3072, 32);
    for (int k = 0; k < list.count; ++k) apply(Solo{}, t.canvas, list.at[k]);
    count += different(t.canvas.now, bytes_of(want) + i * 3072, 3072);
  }
  return count;
}

Rule rule_named(const std::string& name) {
  static const std::pair<const char*, Rule> rules[] = {
      {"AutoContrast", Rule::auto_contrast},
      {"Equalize", Rule::equalize},
      {"Invert", Rule::invert},
      {"Rotate", Rule::rotate},
      {"PosterizeIncreasing", Rule::posterize_increasing},
      {"SolarizeIncreasing", Rule::solarize_increasing},
      {"SolarizeAdd", Rule::solarize_add},
      {"ColorIncreasing", Rule::color_increasing},
      {"ContrastIncreasing", Rule::contrast_increasing},
      {"BrightnessIncreasing", Rule::brightness_increasing},
      {"SharpnessIncreasing", Rule::sharpness_increasing},
      {"ShearX", Rule::shear_x},
      {"ShearY", Rule::shear_y},
      {"TranslateXRel", Rule::translate_x},
      {"TranslateYRel", Rule::translate_y}};
  for (const auto& [text, rule] : rules)
    if (name == text) return rule;
  FAIL("no rule ", name);
  return Rule::invert;
}

}  // namespace

TEST_CASE("RandAugment's operations equal timm's, byte for byte") {
  const SafeTensors file = read_safetensors(golden + "augment_randaugment.safetensors");
  OperationRules rules{};
  rules.translate = 0.45;
  int checked = 0;
  for (const auto& [name, want] : file.tensors) {
    if (name.rfind("out.", 0) != 0) continue;
    const size_t dot = name.find('.', 4), sign = name.find('.', dot + 1);
    OperationList list;
    add_operation(list, rule_named(name.substr(4, dot - 4)), std::stod(name.substr(dot + 2)),
                  name.substr(sign) == ".minus" ? -1 : 1, rules, 32);
    REQUIRE(list.count == 1);
    list.at[0].bicubic = true;
    CAPTURE_BOUND(name);
    CHECK(difference(file, want, list) == 0);
    ++checked;
  }
  CHECK(checked == 96);
}

TEST_CASE("scaling, grayscale, solarize and blur equal Pillow's, byte for byte") {
  const SafeTensors file =
      read_safetensors(golden + "augment_resize_and_three_augment.safetensors");
  const StoredTensor& in = file.at("in.images");
  for (int size : {64, 224})
    for (bool bicubic : {false, true}) {
      const StoredTensor& want = file.at(cat("out.", bicubic ? "bicubic." : "bilinear.", size));
      const int n = 3 * size * size, stride = most_weights(bicubic, 32, size) + 2;
      std::vector<int32_t> weights(size * stride);
      std::vector<uint8_t> between(n), out(n);
      int count = 0;
      for (int64_t i = 0; i < want.shape[0]; ++i) {
        resize(Solo{}, Pixels::whole(bytes_of(in) + i * 3072, 32, 32), 3, bicubic, size, size,
               false, {weights.data(), stride}, between.data(), out.data());
        count += different(out.data(), bytes_of(want) + i * n, n);
      }
      CAPTURE(size);
      CAPTURE(bicubic);
      CHECK(count == 0);
    }
  auto check = [&](const char* name, Operation operation, double value) {
    OperationList list;
    list.add(operation, value);
    CAPTURE(name);
    CHECK(difference(file, file.at(name), list) == 0);
  };
  check("out.grayscale", Operation::grayscale, 0);
  check("out.solarize128", Operation::solarize, 128);
  check("out.gaussian_blur.0.1", Operation::blur, 0.1);
  check("out.gaussian_blur.0.7", Operation::blur, 0.7);
  check("out.gaussian_blur.2.0", Operation::blur, 2.0);
}

TEST_CASE("portable arithmetic agrees with the C library") {
  double log = 0, exp = 0, sine = 0, cosine = 0;
  Numbers numbers(1, Draw::mix, 2, 3);
  for (int k = 0; k < 20000; ++k) {
    const double x = std::exp(numbers.uniform(-40, 40)), y = numbers.uniform(-60, 60),
                 z = numbers.uniform(-20, 20);
    log = std::max(log, std::abs(portable_log(x) / std::log(x) - 1));
    exp = std::max(exp, std::abs(portable_exp(y) / std::exp(y) - 1));
    sine = std::max(sine, std::abs(portable_sin_cos(z).sin - std::sin(z)));
    cosine = std::max(cosine, std::abs(portable_sin_cos(z).cos - std::cos(z)));
  }
  CHECK(log < 1e-15);
  CHECK(exp < 1e-15);
  CHECK(sine < 3e-16);
  CHECK(cosine < 3e-16);
  CHECK(portable_log(1) == 0);
  CHECK(portable_exp(0) == 1);
  CHECK(portable_exp(-800) == 0);
}

TEST_CASE("RandomResizedCrop: inside the picture, of the areas and shapes asked for") {
  const CropRules r{.crop = Crop::resized,
                    .padding = 0,
                    .pad = Pad::mean,
                    .scale_low = 0.2,
                    .scale_high = 0.9,
                    .ratio_low = 0.5,
                    .ratio_high = 2,
                    .crop_ratio = 1,
                    .interpolation = Interpolation::random,
                    .flip = true};
  int mirrored = 0, bicubic = 0, wide = 0;
  double area = 0;
  constexpr int n = 4000;
  for (int i = 0; i < n; ++i) {
    const Geometry g = draw_geometry(r, true, 7, 0, i, 300, 400, 64);
    REQUIRE((g.y >= 0 && g.x >= 0 && g.y + g.height <= 300 && g.x + g.width <= 400));
    REQUIRE((g.width > 0.49 * g.height && g.width < 2.02 * g.height));
    const double share = g.height * g.width / 120000.0;
    REQUIRE((share > 0.198 && share < 0.902));
    area += share;
    wide += g.width > g.height;
    mirrored += g.mirrored;
    bicubic += g.bicubic;
  }
  CHECK(mirrored == doctest::Approx(n / 2).epsilon(0.06));
  CHECK(bicubic == doctest::Approx(n / 2).epsilon(0.06));
  CHECK(area / n > 0.4);  // the mean is 0.55, less what does not fit
  CHECK(area / n < 0.56);
  CHECK(wide > n * 0.5);  // the picture is wide: more of these fit
  CHECK(wide < n * 0.7);
  // Ten tries cannot fit 90 % of a square in a shape of 4 : 1: the band in the middle is taken.
  CropRules band = r;
  band.scale_low = band.scale_high = 0.9;
  band.ratio_low = band.ratio_high = 4;
  const Geometry g = draw_geometry(band, true, 7, 0, 0, 100, 100, 64);
  CHECK((g.width == 100 && g.height == 25 && g.x == 0 && g.y == 37));
}

TEST_CASE("central crop: the shorter side is scaled, then the middle taken") {
  CropRules r{};
  r.crop = Crop::central;
  r.crop_ratio = 0.875;
  const Geometry g = draw_geometry(r, false, 0, 0, 0, 300, 400, 224);
  CHECK((g.scale_height == 256 && g.scale_width == 341));
  CHECK((g.y == 16 && g.x == 58));  // 58.5, to the even neighbour
  CHECK((g.height == 224 && g.width == 224 && !g.mirrored));
}

TEST_CASE("names of policies: timm's, and what is wrong with others") {
  auto rules = [](const char* name) {
    AugmentOptions o;
    o.auto_augment = name;
    return operation_rules(o);
  };
  const OperationRules rand = rules("rand-m9-mstd0.5-inc1");
  CHECK(rand.layers == 2);
  CHECK(rand.level == 9);
  CHECK(rand.deviation == 0.5);
  CHECK(rand.limit == 10);
  CHECK(rand.probability == 0.5);
  CHECK(rand.choice[4] == Rule::posterize_increasing);
  const OperationRules other = rules("rand-n3-p0.7-mmax20-mstd101");
  CHECK(other.layers == 3);
  CHECK(other.level == 10);
  CHECK(other.limit == 20);
  CHECK(std::isinf(other.deviation));
  CHECK(other.choice[4] == Rule::posterize);
  CHECK(rules("cifar10").policies == 25);
  CHECK(rules("v0r").policy[12][0].rule == Rule::posterize_increasing);
  CHECK(rules("original-mstd0.5").deviation == 0.5);
  for (const auto& [name, text] : {std::pair("augmix-m5", "AugMix is not there"),
                                   {"rand-m9-w0", "not \"w\" any more"},
                                   {"rand-m9-t3a", "sets of operations"},
                                   {"rand-m9.5", "m is a whole number"},
                                   {"rand-m", "not a letter and a number"},
                                   {"rand-n9", "n is a whole number from 1 to 4"},
                                   {"v1", "unknown auto augmentation"},
                                   {"v0-m9", "only mstd can follow"}})
    CHECK_THROWS_WITH_AS(rules(name), doctest::Contains(text), InputError);
}

TEST_CASE("RandAugment draws every operation equally often, with levels around m") {
  AugmentPictures p{};
  AugmentOptions o;
  o.auto_augment = "rand-m9-mstd0.5-inc1";
  p.operations = operation_rules(o);
  p.train = true;
  p.S = 32;
  std::array<int, 13> count{};
  int operations = 0, positive = 0, shears = 0;
  double sum = 0;
  constexpr int n = 15000;
  for (int i = 0; i < n; ++i) {
    OperationList list;
    draw_operations(list, p, {.seed = 3, .step = 4}, i);
    operations += list.count;
    for (int k = 0; k < list.count; ++k) {
      const PictureOperation& op = list.at[k];
      ++count[static_cast<int>(op.operation)];
      if (op.operation != Operation::affine || op.map[1] == 0 || op.map[0] != 1) continue;
      ++shears;
      positive += op.map[1] > 0;
      sum += std::abs(op.map[1]);
    }
  }
  CHECK(operations == doctest::Approx(n).epsilon(0.03));  // two layers, each with probability 1/2
  CHECK(count[static_cast<int>(Operation::affine)] == doctest::Approx(n / 3).epsilon(0.06));
  for (Operation op : {Operation::invert, Operation::equalize, Operation::sharpness})
    CHECK(count[static_cast<int>(op)] == doctest::Approx(n / 15).epsilon(0.15));
  CHECK(positive == doctest::Approx(shears / 2.0).epsilon(0.15));
  CHECK(sum / shears == doctest::Approx(0.27).epsilon(0.01));  // 0.3 x 9 / 10
}

TEST_CASE("a step without picture operations or mixing has none") {
  AugmentPictures p{};
  AugmentOptions o;
  o.auto_augment = "cifar10";
  o.color_jitter = 0.3;
  p.operations = operation_rules(o);
  p.train = true;
  p.S = 32;
  OperationList list;
  draw_operations(list, p, {.seed = 3}, 0);
  CHECK(list.count >= 3);
  draw_operations(list, p, {.seed = 3, .operates = 0}, 0);
  CHECK(list.count == 0);
  for (const MixMode mode : {MixMode::pair, MixMode::elem}) {
    const MixRules always{mode, 0.8, 0, 1, 0, 0, 0};
    CHECK(mix_of_picture(always, {.seed = 3}, 0, 8, 32).mix == Mix::mixup);
    const MixChoice none = mix_of_picture(always, {.seed = 3, .mixes = 0}, 0, 8, 32);
    CHECK(none.mix == Mix::none);
    CHECK(none.lambda == 1);
  }
}

TEST_CASE("random erasing: boxes inside, of 2 to 33 % of the area; noise of N(0, 1)") {
  const EraseRules r{.prob = 0.25, .mode = EraseMode::pixel, .count = 1};
  int erased = 0;
  double area = 0, sum = 0, squares = 0;
  constexpr int n = 8000, S = 64;
  for (int i = 0; i < n; ++i) {
    Erasure e;
    draw_erasure(e, r, 5, 6, i, S);
    erased += e.count;
    for (int k = 0; k < e.count; ++k) {
      const Region& b = e.box[k];
      REQUIRE((b.x0 >= 0 && b.y0 >= 0 && b.x1 <= S && b.y1 <= S));
      const double share = (b.x1 - b.x0) * (b.y1 - b.y0) / (S * 1.0 * S);
      REQUIRE((share > 0.015 && share < 0.35));
      area += share;
      const double v = e(1, b.y0, b.x0, S, 9.0f), w = e(2, b.y0, b.x0, S, 9.0f);
      sum += v + w;
      squares += v * v + w * w;
      CHECK(v != w);
      if (b.x0 > 0) CHECK(e(1, b.y0, b.x0 - 1, S, 9.0f) == 9);
    }
  }
  CHECK(erased == doctest::Approx(n / 4).epsilon(0.06));
  CHECK(area / erased == doctest::Approx(0.177).epsilon(0.05));
  CHECK(std::abs(sum / (2 * erased)) < 0.06);
  CHECK(squares / (2 * erased) == doctest::Approx(1).epsilon(0.08));
}

TEST_CASE("options that cannot be are refused by name") {
  auto refused = [](auto change, const char* text) {
    AugmentOptions o;
    change(o);
    CHECK_THROWS_WITH_AS(check_augment(o), doctest::Contains(text), InputError);
  };
  check_augment({});
  refused([](AugmentOptions& o) { o.size = 0; }, "pictures of size 0");
  refused([](AugmentOptions& o) { o.scale_low = 0; }, "of the area");
  refused([](AugmentOptions& o) { o.ratio_low = 2, o.ratio_high = 1; }, "of shape 2 to 1");
  refused([](AugmentOptions& o) { o.crop = Crop::published, o.size = 16; }, "published crop");
  refused([](AugmentOptions& o) { o.erase.prob = 2; }, "random erasing is 2");
  refused([](AugmentOptions& o) { o.erase.count = 9; }, "9 boxes");
  refused([](AugmentOptions& o) { o.mixing.prob = -1; }, "probability of mixing is -1");
  refused([](AugmentOptions& o) { o.mixing.cutmix_minmax = {0.5, 0.5}; }, "CutMix boxes");
  refused([](AugmentOptions& o) { o.auto_augment = "augmix"; }, "AugMix");
  CHECK_THROWS_WITH_AS(crop_named("round"), doctest::Contains("none, padded, resized"), InputError);
  CHECK(erase_mode_named("const") == EraseMode::constant);
}
