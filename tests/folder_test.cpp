// Image folders: decoding, listing, what is wrong with files and folders, and that batches do not
// depend on the number of threads, on a cache, or on where a training was resumed.
#include <algorithm>
#include <cstring>
#include <doctest/doctest.h>
#include <set>

#include "apps/train_cifar/trainer.h"
#include "engine/data/image_folder.h"
#include "engine/data/resize.h"
#include "engine/safetensors.h"
#include "tests/image_files.h"

#if __has_include(<stb/stb_image_write.h>)
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#include <stb/stb_image_write.h>
#pragma GCC diagnostic pop
#define KRAIT_TEST_JPEG 1
#endif

using namespace krait;
namespace fs = std::filesystem;

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

std::string fault_of(const TempFolder& temp, const std::string& bytes) {
  write_bytes(temp / "x", bytes);
  Picture p;
  return read_picture(temp / "x", p);
}

// train/ and val/ with three classes, pictures of several sizes, files as PNG and BMP in turn.
void write_set(const fs::path& path, int train, int val) {
  uint32_t number = 0;
  for (const char* part : {"train", "val"})
    for (const char* name : {"cat", "ant", "bee"})
      for (int i = 0; i < (part[0] == 't' ? train : val); ++i) {
        ++number;
        const Picture p = drawn_picture(20 + static_cast<int>(number * 7 % 17),
                                        18 + static_cast<int>(number * 5 % 23), number);
        const fs::path file = path / part / name / cat("p", 100 + i);
        if (number % 2)
          write_bytes(file.string() + ".png", png_bytes(p));
        else
          write_bytes(file.string() + ".bmp", bmp_bytes(p));
      }
}

FolderOptions options_for(const Dataset& d, int threads, int64_t batch, bool train) {
  FolderOptions o{.batch = batch, .train = train, .augment = {}, .threads = threads};
  o.augment.size = 16;
  o.augment.crop = train ? Crop::resized : Crop::central;
  o.augment.interpolation = Interpolation::bicubic;
  o.augment.flip = false;
  o.augment.mean = d.mean;
  o.augment.stddev = d.stddev;
  return o;
}

// The source's batches, one after the other, as a training takes them from step `from` on.
struct Batches {
  Context ctx{Backend::cpu, 1 << 22};
  StepState state;
  FolderSource source;
  FolderOptions options;
  Batches(const Dataset& d, const FolderOptions& o) : source(ctx, d, o), options(o) {
    ctx.state = &state;
    state.seed = 5;
  }
  std::vector<float> take(uint64_t step) {
    const int64_t per_epoch = source.count() / options.batch;
    source.shuffle(ctx, state.seed, step / per_epoch, options.repeats);
    state.step = step;
    state.first = static_cast<int64_t>(step % per_epoch) * options.batch;
    return made(options.batch);
  }
  std::vector<float> made(int64_t B) {
    source.prepare(ctx, state, B);
    const auto batch = source.batch(ctx, B, options.augment, options.train, DType::f32);
    std::vector<float> all = ctx.download<float>(batch.images);
    const std::vector<float> targets = ctx.download<float>(batch.targets);
    all.insert(all.end(), targets.begin(), targets.end());
    return all;
  }
};

}  // namespace

TEST_CASE("image files: PNG and BMP give the bytes that were drawn, JPEG nearly") {
  if (!readable()) return;
  const TempFolder temp("image_file");
  for (auto [h, w] : {std::pair{1, 1}, {3, 5}, {64, 33}}) {
    const Picture drawn = drawn_picture(h, w, 7);
    for (const std::string& bytes : {png_bytes(drawn), bmp_bytes(drawn)}) {
      write_bytes(temp / "p.jpg", bytes);  // what a file is, its bytes say
      Picture p;
      int height, width;
      REQUIRE(read_picture(temp / "p.jpg", p) == "");
      CHECK(p.pixels == drawn.pixels);
      REQUIRE(probe_picture(temp / "p.jpg", height, width) == "");
      CHECK((height == h && width == w && p.height == h && p.width == w));
    }
  }
#if KRAIT_TEST_JPEG
  const Picture drawn = drawn_picture(40, 60, 3);
  REQUIRE(stbi_write_jpg((temp / "q").c_str(), 60, 40, 3, drawn.pixels.data(), 95) != 0);
  Picture p;
  REQUIRE(read_picture(temp / "q", p) == "");
  REQUIRE(p.pixels.size() == drawn.pixels.size());
  double sum = 0;
  for (size_t i = 0; i < p.pixels.size(); ++i) sum += std::abs(p.pixels[i] - drawn.pixels[i]);
  CHECK(sum / static_cast<double>(p.pixels.size()) < 4);
#endif
}

TEST_CASE("image files: grey, alpha and 16 bits become 8-bit RGB") {
  if (!readable()) return;
  const TempFolder temp("image_kinds");
  auto pixels = [&](const std::string& png) {
    write_bytes(temp / "x", png);
    Picture p;
    REQUIRE(read_picture(temp / "x", p) == "");
    return p.pixels;
  };
  using Bytes = std::vector<uint8_t>;
  CHECK(pixels(png_bytes(1, 2, 8, 0, "\x10\xF0", 2)) == Bytes{16, 16, 16, 240, 240, 240});
  CHECK(pixels(png_bytes(1, 2, 8, 4, std::string("\x10\x00\xF0\x80", 4), 4)) ==
        Bytes{16, 16, 16, 240, 240, 240});
  CHECK(pixels(png_bytes(1, 1, 8, 6, std::string("\x01\x02\x03\x00", 4), 4)) == Bytes{1, 2, 3});
  CHECK(pixels(png_bytes(1, 1, 16, 2, "\x01\xFF\x02\x7F\xF0\x80", 6)) == Bytes{1, 2, 240});
}

TEST_CASE("image files: what is wrong with one is said, never filled up") {
  if (!readable()) return;
  const TempFolder temp("image_faults");
  Picture p;
  CHECK(read_picture(temp / "absent", p).find("cannot be opened (No such file") == 0);
  CHECK(fault_of(temp, "") == "is empty");
  CHECK(fault_of(temp, "GIF89a.....") == "is not a PNG, JPEG or BMP picture");
  const std::string png = png_bytes(drawn_picture(20, 30, 1));
  const std::string bmp = bmp_bytes(drawn_picture(20, 30, 1));
  for (size_t cut : {png.size() - 1, png.size() - 13, png.size() / 2, size_t{40}})
    CHECK(fault_of(temp, png.substr(0, cut)) == "is cut off");
  for (size_t cut : {bmp.size() - 1, bmp.size() / 2, size_t{60}})
    CHECK(fault_of(temp, bmp.substr(0, cut)) == "is cut off");
  for (size_t at : {size_t{60}, png.size() / 2, png.size() - 20}) {
    std::string damaged = png;
    damaged[at] ^= 4;
    CHECK(fault_of(temp, damaged) == "is damaged");
  }
  CHECK(fault_of(temp, png_bytes(70000, 70000, 8, 0, "", 0)) ==
        "is too large (70000 x 70000 pixels)");
  CHECK(fault_of(temp, png_bytes(5, 5, 8, 9, std::string(25, 'x'), 5)) ==
        "has a header that cannot be read");
#if KRAIT_TEST_JPEG
  const Picture drawn = drawn_picture(40, 60, 3);
  REQUIRE(stbi_write_jpg((temp / "q").c_str(), 60, 40, 3, drawn.pixels.data(), 90) != 0);
  std::ifstream in(temp / "q", std::ios::binary);
  const std::string jpg(std::istreambuf_iterator<char>(in), {});
  CHECK(fault_of(temp, jpg) == "");
  CHECK(fault_of(temp, jpg + "anything") == "");  // cameras do that
  for (size_t cut : {jpg.size() - 2, jpg.size() - 50, jpg.size() / 2, size_t{300}})
    CHECK(fault_of(temp, jpg.substr(0, cut)) != "");
  const size_t start = jpg.find("\xFF\xDA");
  const std::string scan = jpg.substr(start, jpg.size() - 2 - start);
  CHECK(fault_of(temp, jpg.substr(0, start) + scan + scan + scan + scan + "\xFF\xD9") ==
        "has more scans than a picture needs");
#endif
}

TEST_CASE("scaling: the bytes of Pillow, for pictures larger than the result") {
  const SafeTensors golden =
      read_safetensors(KRAIT_SOURCE_DIR "/tests/golden/augment/downscale.safetensors");
  const StoredTensor& in = golden.at("in.picture");
  Picture p{static_cast<int>(in.shape[0]), static_cast<int>(in.shape[1]), {}};
  p.pixels.resize(in.bytes.size());
  std::memcpy(p.pixels.data(), in.bytes.data(), in.bytes.size());
  const Box whole{0, 0, p.height, p.width};
  for (bool bicubic : {false, true}) {
    auto check = [&](const char* name, const Box& from, int height, int width, const Box& window) {
      const StoredTensor& want = golden.at(cat("out.", bicubic ? "bicubic." : "bilinear.", name));
      std::vector<uint8_t> out(int64_t{3} * window.height * window.width);
      REQUIRE(out.size() == want.bytes.size());
      resize_picture(p, from, height, width, window, bicubic, out.data());
      CHECK(std::memcmp(out.data(), want.bytes.data(), out.size()) == 0);
    };
    check("16x16", whole, 16, 16, {0, 0, 16, 16});
    check("40x20", whole, 40, 20, {0, 0, 40, 20});
    check("part.24x24", {7, 30, 33, 45}, 24, 24, {0, 0, 24, 24});
    check("central.28", whole, 32, 50, {2, 11, 28, 28});
  }
  AugmentOptions o;  // the last one again, by its name
  o.size = 28;
  o.crop = Crop::central;
  o.crop_ratio = 0.875;
  o.interpolation = Interpolation::bicubic;
  std::vector<uint8_t> out(3 * 28 * 28);
  crop_picture(p, o, false, {}, 0, out.data());
  CHECK(std::memcmp(out.data(), golden.at("out.bicubic.central.28").bytes.data(), out.size()) == 0);
}

TEST_CASE("image folder: classes and files are sorted, what is no picture is left out") {
  if (!readable()) return;
  const TempFolder temp("folder_list");
  write_set(temp.path, 3, 2);
  write_bytes(temp / "train/cat/notes.txt", "x");
  write_bytes(temp / "train/cat/.hidden.png", "x");
  write_bytes(temp / "train/README", "x");
  write_bytes(temp / "train/bee/broken.jpeg", "x");
  write_bytes(temp / "train/bee/empty.JPG", "");
  fs::create_symlink(temp / "nowhere", temp / "train/bee/link.png");
  fs::create_directory_symlink(temp.path / "train" / "ant", temp.path / "train" / "emu");
  fs::create_directory_symlink(temp.path / "val" / "ant", temp.path / "val" / "emu");
  const Dataset d = list_image_folder(temp.path.string(), true, 3);
  CHECK(d.class_names == std::vector<std::string>{"ant", "bee", "cat", "emu"});
  CHECK(d.classes == 4);
  CHECK(d.labels == std::vector<int32_t>{0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3});
  CHECK(d.files[3] == temp / "train/bee/p100.png");
  CHECK(d.files[4] == temp / "train/bee/p101.bmp");
  CHECK(d.files[11] == temp / "train/emu/p102.bmp");
  CHECK(d.mean[0] == doctest::Approx(0.485));
  CHECK(list_image_folder(temp.path.string(), false, 1).count() == 8);
}

TEST_CASE("image folder: what it lacks is said in one line") {
  if (!readable()) return;
  const TempFolder temp("folder_faults");
  auto fault = [&](bool train) -> std::string {
    try {
      list_image_folder(temp.path.string(), train, 2);
    } catch (const InputError& e) {
      return e.what();
    }
    return "";
  };
  CHECK(fault(true).find(cat("there is no folder ", temp / "train", " (an image folder has")) == 0);
  fs::create_directories(temp.path / "train");
  CHECK(fault(true).find("no class folders in " + temp / "train") == 0);
  write_set(temp.path, 1, 1);
  CHECK(fault(true) == "");
  fs::create_directories(temp.path / "train" / "dog");
  CHECK(fault(true) ==
        "no picture (png, jpg, jpeg, bmp) that can be read in " + temp / "train/dog");
  CHECK(fault(false) == temp.path.string() + ": val/ lacks classes of train/: dog");
  write_bytes(temp / "train/dog/a.png", "no picture");
  CHECK(fault(true) ==
        "no picture (png, jpg, jpeg, bmp) that can be read in " + temp / "train/dog");
  fs::remove_all(temp.path / "train" / "dog");
  write_set(temp / "val/x", 1, 1);
  CHECK(fault(false) == temp.path.string() + ": val/ has classes that train/ lacks: x");
  if (geteuid() != 0) {
    fs::permissions(temp.path / "train" / "cat", fs::perms::none);
    CHECK(fault(true) == cat("cannot read ", temp / "train/cat", ": Permission denied"));
    fs::permissions(temp.path / "train" / "cat", fs::perms::owner_all);
  }
}

TEST_CASE("reading ahead: batches come in order, from any number of threads, from any place") {
  for (int threads : {1, 3, 8}) {
    std::vector<std::vector<int64_t>> slots(3, std::vector<int64_t>(5));
    ReadAhead ahead(
        threads, 3,
        [](BatchPlace p) {
          ++p.step;
          return p;
        },
        [&](const BatchPlace& p, int64_t i, int slot) {
          if (p.step == 60 && i == 2) throw InputError("the sixtieth");
          slots[slot][i] = static_cast<int64_t>(p.step) * 100 + i;
        });
    auto holds = [&](uint64_t step) {
      const int slot = ahead.take({.step = step, .B = 5});
      bool right = true;
      for (int64_t i = 0; i < 5; ++i)
        right = right && slots[slot][i] == static_cast<int64_t>(step) * 100 + i;
      ahead.give_back(slot);
      return right;
    };
    for (uint64_t step = 7; step < 40; ++step) CHECK(holds(step));
    CHECK(holds(3));  // another place
    CHECK(holds(4));
    CHECK(holds(4));  // again
    const int kept = ahead.take({.step = 5, .B = 5});
    for (uint64_t step : {6, 7}) CHECK(holds(step));  // while that one is not given back
    CHECK(slots[kept] == std::vector<int64_t>{500, 501, 502, 503, 504});
    CHECK_THROWS_AS(holds(8), Error);  // all the others were used
    ahead.give_back(kept);
    CHECK(holds(59));
    CHECK_THROWS_WITH_AS(ahead.take({.step = 60, .B = 5}), "the sixtieth", InputError);
    CHECK(holds(61));
  }
}

TEST_CASE("image folder: the same batches from any number of threads, cached or not, resumed") {
  if (!readable()) return;
  const TempFolder temp("folder_batches");
  write_set(temp.path, 7, 5);  // 21 pictures: 5 batches of 4, one picture is dropped
  const Dataset d = list_image_folder(temp.path.string(), true, 2);
  std::vector<std::vector<float>> all;
  Batches one(d, options_for(d, 1, 4, true));
  for (uint64_t step = 0; step < 13; ++step) all.push_back(one.take(step));
  CHECK(std::set(all.begin(), all.end()).size() == 13);  // every batch is another one
  for (int threads : {2, 5})
    for (size_t cache : {size_t{0}, size_t{12000}, size_t{1} << 30}) {
      FolderOptions o = options_for(d, threads, 4, true);
      o.cache_bytes = cache;
      Batches other(d, o);
      for (uint64_t step : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 7, 8, 9, 10, 3})
        CHECK(other.take(step) == all[step]);
      CHECK(other.source.cached_bytes() <= cache);
      if (cache) CHECK(other.source.cached_bytes() > 0);
    }
  FolderOptions repeated = options_for(d, 2, 4, true);
  repeated.repeats = 3;
  Batches again(d, repeated);
  CHECK(again.take(6) != all[6]);

  // Every picture of a batch, worked out here.
  const std::vector<int32_t> order = epoch_order(21, 5, 1, 1);
  std::vector<uint8_t> crop(3 * 16 * 16);
  for (int64_t i = 0; i < 4; ++i) {
    const int32_t index = order[8 + i];  // step 7: the third batch of epoch 1
    Picture p;
    REQUIRE(read_picture(d.files[index], p) == "");
    crop_picture(p, one.options.augment, true, {.seed = 5, .epoch = 1, .step = 7}, i, crop.data());
    for (size_t k = 0; k < crop.size(); ++k) {
      const size_t c = k / 256;
      const double v = (crop[k] / 255.0 - d.mean[c]) / d.stddev[c];
      if (std::abs(all[7][i * crop.size() + k] - v) > 1e-5) FAIL_CHECK("pixel ", k, " of ", i);
    }
    CHECK(all[7][4 * crop.size() + 3 * i + d.labels[index]] == 1);
  }
}

TEST_CASE("image folder: pictures of one size give the batches of a data set in device memory") {
  if (!readable()) return;
  const TempFolder temp("folder_same");
  constexpr int side = 24;
  for (uint32_t n = 0; n < 12; ++n)
    write_bytes(temp.path / "train" / cat("class", n % 3) / cat(10 + n, ".png"),
                png_bytes(drawn_picture(side, side, n)));
  const Dataset d = list_image_folder(temp.path.string(), true, 2);
  Dataset resident = d;
  resident.height = resident.width = side;
  for (const std::string& file : d.files) {
    Picture p;
    REQUIRE(read_picture(file, p) == "");
    for (int c = 0; c < 3; ++c)
      for (int k = 0; k < side * side; ++k) resident.images.push_back(p.pixels[3 * k + c]);
  }
  auto same = [&](AugmentOptions o, bool train) {
    INFO("crop ", static_cast<int>(o.crop), ", interpolation ", static_cast<int>(o.interpolation),
         ", size ", o.size, ", train ", train);
    o.mean = d.mean;
    o.stddev = d.stddev;
    Context ctx(Backend::cpu, 1 << 22);
    StepState state;
    ctx.state = &state;
    DeviceDataset device(ctx, resident);
    FolderSource folder(ctx, d,
                        {.batch = 4, .train = train, .augment = o, .repeats = 2, .threads = 3});
    for (uint64_t step = 0; step < 5; ++step) {
      state.seed = train ? 11 : 0;
      state.step = train ? step : 0;
      state.first = static_cast<int64_t>(step % 3) * 4;
      if (train) {
        device.shuffle(ctx, 11, step / 3, 2);
        folder.shuffle(ctx, 11, step / 3, 2);
      }
      folder.prepare(ctx, state, 4);
      const auto a = device.batch(ctx, 4, o, train, DType::f32);
      const auto b = folder.batch(ctx, 4, o, train, DType::f32);
      CHECK(ctx.download<float>(a.images) == ctx.download<float>(b.images));
      CHECK(ctx.download<float>(a.targets) == ctx.download<float>(b.targets));
    }
  };
  AugmentOptions o;
  o.size = side;
  for (Pad pad : {Pad::mean, Pad::zero, Pad::reflect}) {
    o.pad = pad;
    same(o, true);
  }
  for (int size : {16, side, 40})
    for (Crop crop : {Crop::none, Crop::resized, Crop::simple, Crop::central})
      for (Interpolation i :
           {Interpolation::bilinear, Interpolation::bicubic, Interpolation::random}) {
        o.size = size;
        o.crop = crop;
        o.interpolation = i;
        same(o, true);
        if (i != Interpolation::random) same(o, false);
      }
  o.auto_augment = "rand-m9-mstd0.5-inc1";  // its rotations interpolate as scaling does
  o.erase.prob = 0.5;
  o.color_jitter = 0.3;
  same(o, true);
}

TEST_CASE("image folder: crop padded takes windows of a picture whose shorter side has the size") {
  const Picture p = drawn_picture(20, 33, 4);
  AugmentOptions o;
  o.size = 20;
  o.crop_padding = 0;
  std::vector<uint8_t> out(3 * 20 * 20);
  std::set<int> places;
  for (uint64_t step = 0; step < 40; ++step) {
    crop_picture(p, o, true, {.seed = 1, .step = step}, 0, out.data());
    int found = -1;
    for (int x0 = 0; x0 <= 13; ++x0) {
      bool same = true;
      for (int c = 0; c < 3; ++c)
        for (int y = 0; y < 20; ++y)
          for (int x = 0; x < 20; ++x)
            same = same && out[(c * 20 + y) * 20 + x] == p.pixels[(y * 33 + x0 + x) * 3 + c];
      if (same) found = x0;
    }
    CHECK(found >= 0);
    places.insert(found);
  }
  CHECK(places.size() > 8);
  o.crop = Crop::published;
  CHECK_THROWS_WITH_AS(check_crop(o), doctest::Contains("is for CIFAR"), InputError);
}

TEST_CASE("image folder: an evaluation takes every picture once, in order, again and again") {
  if (!readable()) return;
  const TempFolder temp("folder_evaluation");
  write_set(temp.path, 1, 5);
  const Dataset d = list_image_folder(temp.path.string(), false, 2);
  REQUIRE(d.count() == 15);
  Batches in_ones(d, options_for(d, 1, 1, false)), in_fours(d, options_for(d, 3, 4, false));
  for (int round = 0; round < 3; ++round)
    for (int64_t first = 0; first < 15; first += 4) {
      const int64_t B = std::min<int64_t>(4, 15 - first);
      in_fours.state.first = first;
      const std::vector<float> four = in_fours.made(B);
      for (int64_t i = 0; i < B; ++i) {
        in_ones.state.first = first + i;
        const std::vector<float> one = in_ones.made(1);
        CHECK(std::equal(one.begin(), one.end() - 3, four.begin() + i * 768));
        CHECK(one[768 + d.labels[first + i]] == 1);
        CHECK(four[B * 768 + 3 * i + d.labels[first + i]] == 1);
      }
    }
}

TEST_CASE(
    "image folder: a picture that cannot be decoded becomes a grey one; too many are refused") {
  if (!readable()) return;
  const TempFolder temp("folder_broken");
  write_set(temp.path, 7, 1);
  const std::string file = temp / "train/bee/p103.bmp";
  const std::string whole = png_bytes(drawn_picture(30, 30, 9));
  write_bytes(file, whole.substr(0, whole.size() / 2));
  Dataset d = list_image_folder(temp.path.string(), true, 2);
  REQUIRE(d.count() == 21);  // its header is right
  const auto index = std::find(d.files.begin(), d.files.end(), file) - d.files.begin();
  REQUIRE(index < 21);
  Batches batches(d, options_for(d, 3, 21, true));
  const std::vector<float> all = batches.take(0);
  const std::vector<int32_t> order = epoch_order(21, 5, 0, 1);
  for (int64_t i = 0; i < 21; ++i) {
    float most = 0;
    for (int64_t k = 0; k < 768; ++k) most = std::max(most, std::abs(all[i * 768 + k]));
    CHECK((most < 0.02) == (order[i] == index));  // the mean colour, rounded to 8 bits
  }
  Dataset gone = d;
  for (int i = 0; i < 10; ++i) gone.files[i] = temp / "gone.png";
  Batches too_many(gone, options_for(d, 3, 21, true));
  CHECK_THROWS_WITH_AS(too_many.take(0), doctest::Contains("11 of 21 pictures cannot be decoded"),
                       InputError);
}

TEST_CASE("training on an image folder: bit-equal with 1 and 4 threads, and resumed") {
  if (!readable()) return;
  const TempFolder temp("folder_training");
  write_set(temp.path, 7, 2);
  TrainOptions o;
  o.model = "vim_micro_patch4_32";
  o.model_given = true;
  o.data_set = "IMAGE_FOLDER";
  o.data_path = temp.path.string();
  o.depth = 2;
  o.embed_dim = 16;
  o.patch_size = 8;
  o.batch_size = 4;  // 5 steps an epoch
  o.epochs = 3;
  o.device = "cpu";
  o.mixup = 0.8;
  o.print_every = 1000000;
  o.num_workers = 1;
  auto weights = [](Trainer& t) {
    return t.context().download<float>(t.params().flat(ParamStore::Role::master));
  };
  Trainer one(o);
  one.train(12);
  TrainOptions saving = o;
  saving.num_workers = 4;
  saving.cache_gb = 0;
  Trainer four(saving);
  four.train(12);
  CHECK(weights(one) == weights(four));
  saving.output_dir = temp / "out";
  {
    Trainer interrupted(saving);
    interrupted.train(8);
  }
  saving.resume = temp / "out/checkpoint.safetensors";
  Trainer resumed(saving);
  CHECK(resumed.steps_done() == 8);
  resumed.train(12);
  CHECK(weights(one) == weights(resumed));
  const Evaluation e = one.evaluate(), again = resumed.evaluate();
  CHECK(e.loss == again.loss);
  saving.eval = true;
  fs::remove_all(temp.path / "train");  // an evaluation needs none of it
  CHECK(std::isfinite(Trainer(saving).evaluate().loss));
}
