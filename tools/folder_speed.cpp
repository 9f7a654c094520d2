// How many pictures of an image folder this machine's cores decode, crop and scale in a second: as
// many as a GPU can be fed with.
//   folder_speed /tmp/pictures --draw 2000     draws some first, if there is nothing of that name
//   folder_speed .data/pets --size 224 --threads 8
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <fmt/format.h>
#include <thread>

#include "engine/data/image_folder.h"
#include "kernels/common/random.h"

#if __has_include(<stb/stb_image_write.h>)
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#include <stb/stb_image_write.h>
#pragma GCC diagnostic pop
#else
static int stbi_write_jpg(const char*, int, int, int, const void*, int) {
  return 0;
}
#endif

namespace {

using namespace krait;
namespace fs = std::filesystem;

// Waves of colour and a little noise.
std::vector<uint8_t> drawn(int side, uint32_t number) {
  const Random4 r = philox(1, 0, 0, number);
  std::vector<uint8_t> pixels;
  for (int y = 0; y < side; ++y)
    for (int x = 0; x < side; ++x) {
      const Random4 noise = philox(2, number, static_cast<uint32_t>(y), static_cast<uint32_t>(x));
      for (int c = 0; c < 3; ++c) {
        const float across = 0.1f * uniform01(r.word[c]), down = 0.1f * uniform01(r.word[3 - c]);
        const float wave = std::sin(across * static_cast<float>(x) + down * static_cast<float>(y));
        pixels.push_back(static_cast<uint8_t>(120 + 90 * wave + 16 * uniform01(noise.word[c])));
      }
    }
  return pixels;
}

void draw(const fs::path& path, int count, int side) {
  if (fs::exists(path)) return;
  for (int i = 0; i < count; ++i) {
    const fs::path folder = path / (i % 10 ? "train" : "val") / cat("class", i / 10 % 10);
    fs::create_directories(folder);
    const std::string file = (folder / cat(i, ".jpg")).string();
    KRAIT_INPUT(stbi_write_jpg(file.c_str(), side, side, 3, drawn(side, i).data(), 90),
                "cannot write ", file);
  }
}

double seconds(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// One thread, its own time: what other programs take does not count.
void measure_one(const Dataset& d, const AugmentOptions& o) {
  Picture p;
  std::vector<uint8_t> out(int64_t{3} * o.size * o.size);
  double decoding = 0, cropping = 0;
  const auto count = std::min<int64_t>(d.count(), 500);
  for (int64_t i = 0; i < count; ++i) {
    const double start = seconds(CLOCK_THREAD_CPUTIME_ID);
    const std::string fault = read_picture(d.files[i], p);
    KRAIT_INPUT(fault.empty(), d.files[i], " ", fault);
    const double decoded = seconds(CLOCK_THREAD_CPUTIME_ID);
    crop_picture(p, o, true, {.seed = 1, .step = static_cast<uint64_t>(i)}, 0, out.data());
    decoding += decoded - start;
    cropping += seconds(CLOCK_THREAD_CPUTIME_ID) - decoded;
  }
  const double n = static_cast<double>(count);
  fmt::print("one core: decoding {:.3f} ms, crop and scaling {:.3f} ms, {:.0f} pictures/s\n",
             1e3 * decoding / n, 1e3 * cropping / n, n / (decoding + cropping));
}

// Batches as a training takes them, by the clock on the wall.
void measure_all(const Dataset& d, const AugmentOptions& o, int threads) {
  Context ctx(Backend::cpu);
  const FolderOptions options{
      .batch = std::min<int64_t>(128, d.count()), .augment = o, .threads = threads};
  FolderSource source(ctx, d, options);
  StepState state;
  const double start = seconds(CLOCK_MONOTONIC);
  int64_t taken = 0;
  for (; seconds(CLOCK_MONOTONIC) - start < 5; ++state.step, taken += options.batch) {
    const uint64_t steps = d.count() / options.batch, epoch = state.step / steps;
    source.shuffle(ctx, 0, epoch);
    state.first = static_cast<int64_t>(state.step - epoch * steps) * options.batch;
    source.prepare(ctx, state, options.batch);
  }
  fmt::print("{} threads: {:.0f} pictures/s\n", threads,
             static_cast<double>(taken) / (seconds(CLOCK_MONOTONIC) - start));
}

int run(int argc, char** argv) {
  CLI::App app("Measures how fast an image folder is read.");
  std::string path;
  int size = 224, side = 256, count = 0;
  int threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  app.add_option("PATH", path, "folder with train/CLASS/*.png|jpg|jpeg|bmp")->required();
  app.add_option("--size", size, "of the pictures made")->check(CLI::Range(8, 1024));
  app.add_option("--threads", threads, "all cores")->check(CLI::Range(1, 1024));
  app.add_option("--draw", count, "first draw so many JPEGs")->check(CLI::Range(0, 1000000));
  app.add_option("--side", side, "of the pictures drawn")->check(CLI::Range(8, 4096));
  CLI11_PARSE(app, argc, argv);
  if (count) draw(path, count, side);
  const Dataset d = list_image_folder(path, true, threads);
  AugmentOptions o;
  o.size = size;
  o.crop = Crop::resized;
  o.interpolation = Interpolation::bicubic;
  o.mean = d.mean;
  o.stddev = d.stddev;
  measure_one(d, o);
  measure_all(d, o, threads);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const InputError& e) {
    fmt::print(stderr, "folder_speed: {}\n", e.what());
    return 2;
  } catch (const std::exception& e) {
    fmt::print(stderr, "folder_speed: {}\n", e.what());
    return 1;
  }
}
