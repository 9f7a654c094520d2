// Batches of files through the model.
#include "apps/classify/run.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fmt/format.h>
#include <future>
#include <thread>

#include "kernels/common/random.h"

namespace krait {
namespace {

struct Prepared {
  std::vector<Answer> answers;   // of the files, so far with a path and maybe a fault
  std::vector<uint8_t> samples;  // (those without a fault, 3, S, S)
};

// Decodes and prepares one file; says what is wrong with it.
std::string prepare_file(const Classifier& c, const std::string& path, uint8_t* to) {
  try {
    Picture picture;
    std::string fault = read_picture(path, picture);
    if (fault.empty()) c.prepare(picture, to);
    return fault;
  } catch (const InputError& e) {
    return e.what();
  } catch (const std::bad_alloc&) {
    return "needs more memory than there is";
  }
}

// The next batch; without answers if there are no more files.
Prepared next_batch(const Classifier& c, Inputs& inputs, int threads) {
  Prepared batch;
  for (std::string path; std::ssize(batch.answers) < c.batch() && inputs.next(path);)
    batch.answers.push_back({path, "", {}});
  const int64_t count = std::ssize(batch.answers), bytes = c.sample_bytes();
  batch.samples.resize(count * bytes);
  std::atomic<int64_t> next = 0;
  auto work = [&] {
    for (int64_t i; (i = next++) < count;)
      batch.answers[i].fault =
          prepare_file(c, batch.answers[i].path, batch.samples.data() + i * bytes);
  };
  std::vector<std::thread> others;
  for (int t = 1; t < std::min<int64_t>(threads, count); ++t) others.emplace_back(work);
  work();
  for (std::thread& t : others) t.join();
  int64_t good = 0;  // close the gaps
  for (int64_t i = 0; i < count; ++i)
    if (batch.answers[i].fault.empty())
      std::memmove(batch.samples.data() + good++ * bytes, batch.samples.data() + i * bytes, bytes);
  batch.samples.resize(good * bytes);
  return batch;
}

void classify(Classifier& c, Prepared& batch, int top) {
  const int64_t good = std::ssize(batch.samples) / c.sample_bytes();
  if (good == 0) return;
  std::vector<float> probabilities(good * c.classes());
  c.classify(batch.samples.data(), good, probabilities.data());
  const float* row = probabilities.data();
  for (Answer& a : batch.answers) {
    if (!a.fault.empty()) continue;
    if (std::any_of(row, row + c.classes(), [](float p) { return !std::isfinite(p); }))
      a.fault = "makes the model's result infinite or not a number";
    else
      a.best = most_probable(row, c.classes(), top);
    row += c.classes();
  }
}

double seconds_of(const std::function<void()>& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// A batch to measure with: from the files, over and over, or noise.
std::vector<uint8_t> measured_batch(const Classifier& c, Inputs& inputs, FILE* out) {
  Prepared files;
  const double seconds = seconds_of([&] { files = next_batch(c, inputs, 1); });
  std::vector<uint8_t> samples = std::move(files.samples);
  const int64_t wanted = c.batch() * c.sample_bytes(), count = std::ssize(files.answers);
  if (count > 0)
    fmt::print(out,
               "decoding, scaling and cropping: {:.3f} ms a picture on one thread ({} files)\n",
               1e3 * seconds / static_cast<double>(count), count);
  KRAIT_INPUT(count == 0 || !samples.empty(), files.answers[0].path, " ", files.answers[0].fault,
              ": there is no picture to measure with");
  const int64_t there = std::ssize(samples);
  samples.resize(wanted);
  for (int64_t i = there; i < wanted; ++i)
    samples[i] = there ? samples[i - there] : static_cast<uint8_t>(philox(1, 0, 0, i).word[0]);
  return samples;
}

}  // namespace

int64_t classify_all(Classifier& c, Inputs& inputs, const ClassifyOptions& o, FILE* out) {
  const int top = std::min(o.top, c.classes());
  int64_t bad = 0;
  auto ahead = [&] {
    return std::async(std::launch::async, [&] { return next_batch(c, inputs, o.threads); });
  };
  auto flush = [&] { KRAIT_INPUT(std::fflush(out) == 0, "the output cannot be written"); };
  std::fputs(header(o.format, top).c_str(), out);
  flush();
  for (auto next = ahead();;) {
    Prepared batch = next.get();
    if (batch.answers.empty()) return bad;
    next = ahead();
    classify(c, batch, top);
    for (const Answer& a : batch.answers) {
      if (!a.fault.empty()) {
        ++bad;
        fmt::print(stderr, "classify: {} {}\n", a.path, a.fault);
      }
      std::fputs(line(o.format, a, c.class_names(), top).c_str(), out);
    }
    flush();
  }
}

void benchmark(Classifier& c, Inputs& inputs, FILE* out) {
  const std::vector<uint8_t> samples = measured_batch(c, inputs, out);
  std::vector<float> probabilities(c.batch() * c.classes());
  auto run = [&] { c.classify(samples.data(), c.batch(), probabilities.data()); };
  for (int i = 0; i < 3; ++i) run();
  std::vector<double> times;
  for (double sum = 0; sum < 3 || times.size() < 10;) {
    times.push_back(seconds_of(run));
    sum += times.back();
  }
  std::sort(times.begin(), times.end());
  auto at = [&](double share) {
    return 1e3 * times[static_cast<size_t>(share * static_cast<double>(times.size() - 1))];
  };
  fmt::print(out,
             "a batch of {}: {:.3f} ms, copies to and from the device included (median of {}; 10th "
             "to 90th percentile {:.3f} to {:.3f})\n{:.1f} pictures/s\n",
             c.batch(), at(0.5), times.size(), at(0.1), at(0.9),
             1e3 * static_cast<double>(c.batch()) / at(0.5));
  KRAIT_INPUT(std::fflush(out) == 0, "the output cannot be written");
}

}  // namespace krait
