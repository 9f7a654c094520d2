// The parts of kernel_lab that need no run of it: samples, floors, peaks, the sums of the launch
// timer, saved runs, marked tables. tests/kernel_lab_test.cpp runs the program.
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <unistd.h>

#include "engine/kernel_choice.h"
#include "engine/ops/ops.h"
#include "tools/bench_report.h"
#include "tools/step_report.h"

using namespace krait;

namespace {

struct File {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("krait_lab_test_" + std::to_string(getpid()));
  explicit File(const std::string& text) { std::ofstream(path) << text; }
  ~File() { std::filesystem::remove(path); }
  std::string text() const {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
};

}  // namespace

TEST_CASE("lab: median and percentiles") {
  const Timing t = timing_of({5, 1, 4, 2, 3, 11, 10, 9, 8, 7, 6});
  CHECK(t.median == 6);
  CHECK(t.low == 2);
  CHECK(t.high == 10);
  CHECK(t.samples == 11);
  CHECK(t.spread() == doctest::Approx(8.0 / 6));
  CHECK(timing_of({}).samples == 0);
  CHECK(timing_of({7}).high == 7);
}
TEST_CASE("lab: sampling ends when the time is spent, but not before the fewest") {
  int calls = 0;
  auto sample = [&](double seconds) { return ++calls, seconds; };
  CHECK(gather(10, [&] { return sample(1.0); }, {.seconds = 0.5}).samples == 3);
  calls = 0;
  // Each sample is 10 pieces of 0.01 s.
  CHECK(gather(10, [&] { return sample(0.01); }, {.seconds = 0.45}).samples == 5);
  calls = 0;
  CHECK(gather(1, [&] { return sample(0); }, {.seconds = 1, .fewest = 1, .most = 20}).samples ==
        20);
  CHECK(calls == 20);
}
TEST_CASE("lab: the floor is the longest of its times") {
  const Rates rates{.bytes = 100, .flops = 1000, .exps = 10, .instructions = 500};
  Floor f = floor_of({.bytes = 200, .flops = 100}, rates);
  CHECK(f.seconds == 2);
  CHECK(std::string(f.by) == "memory");
  f = floor_of({.bytes = 200, .flops = 5000}, rates);
  CHECK(f.seconds == 5);
  CHECK(std::string(f.by) == "arithmetic");
  f = floor_of({.bytes = 200, .flops = 5000, .exps = 60}, rates);
  CHECK(f.seconds == 6);
  CHECK(std::string(f.by) == "exp");
  f = floor_of({.bytes = 200, .flops = 5000, .exps = 60, .instructions = 3500}, rates);
  CHECK(f.seconds == 7);
  CHECK(std::string(f.by) == "issue");
  CHECK(floor_of({}, rates).seconds == 0);              // the case states no cost
  CHECK(floor_of({.exps = 60}, Rates{}).seconds == 0);  // no rate is known
}
TEST_CASE("lab: a CPU's peaks are measured when asked for, and believable") {
  Peaks peaks;
  CHECK(peaks.text().empty());
  const Rates r = peaks.rates({.flops = 1, .exps = 1, .instructions = 1}, Backend::cpu, DType::f32);
  CHECK(r.bytes == 0);         // not asked for
  CHECK(r.instructions == 0);  // not known of a CPU
  CHECK(r.flops > 1e8);
  CHECK(r.exps > 1e7);
  CHECK(r.exps < r.flops);                    // one takes several multiply-adds
  CHECK(peaks.exps(Backend::cpu) == r.exps);  // measured once
  CHECK(peaks.text().find("multiply-adds") != std::string::npos);
  CHECK(peaks.text().find("copy") == std::string::npos);
}

TEST_CASE("lab: times are added up by kernel and variant; the median over steps") {
  KernelTimes times;
  for (const double scale : {1.0, 3.0, 2.0}) {
    times.add("scan", "a", 1 * scale);
    times.add("scan", "b", 8 * scale);
    times.add("norm", "a", 2 * scale);
    times.add("norm", "a", 1 * scale);
    times.end_step();
  }
  const auto rows = times.rows();
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].kernel + "/" + rows[0].variant == "scan/b");
  CHECK(rows[0].seconds == 16);
  CHECK(rows[1].kernel + "/" + rows[1].variant == "norm/a");
  CHECK(rows[1].count == 2);
  CHECK(rows[1].seconds == 6);
  CHECK(rows[2].kernel + "/" + rows[2].variant == "scan/a");
  CHECK(rows[2].seconds == 2);
}
TEST_CASE("lab: the launch timer sees every launch of its context while it runs, and no other") {
  Context ctx(Backend::cpu, 1 << 20);
  Tensor x = ctx.zeros({1000}, DType::f32);
  LaunchTimer timer(ctx);
  ctx.fill(x, 1);  // nobody looks
  const double start = seconds_now();
  for (int step = 0; step < 2; ++step)
    timer.run(
        [&] {
          ctx.fill(x, 2);
          ctx.fill(x, 3);
          Tensor y = silu(ctx, x);
          ctx.measure([&] { silu(ctx, y); });  // launches nothing
        },
        0);
  const double all = seconds_now() - start;
  ctx.fill(x, 4);
  const auto rows = timer.rows();
  REQUIRE(rows.size() == 2);
  double sum = 0;
  for (const KernelTime& r : rows) {
    CHECK(r.seconds > 0);
    CHECK(r.count == (r.kernel == "fill" ? 2 : 1));
    sum += r.seconds;
  }
  CHECK(sum < all);
  ctx.force("fill", "reference");
  CHECK_THROWS(timer.run([&] { throw Error("from within"); }, 0));
  ctx.fill(x, 5);  // the timer no longer looks
  CHECK(timer.rows().size() == 2);
}

TEST_CASE("lab: a step is measured on the CPU, in every mode") {
  size_t train_bytes = 0;
  for (const StepMode mode : {StepMode::train, StepMode::remake, StepMode::infer}) {
    StepSetup setup;
    setup.model = "vim_micro_patch4_32";
    setup.batch = 2;
    setup.image_size = 16;
    setup.mode = mode;
    setup.kernels = {{"selective_scan_fwd", "reference"}};
    const MeasuredStep m = measure_step(setup);
    CHECK(m.setup.precision == "fp32");
    CHECK(m.tokens == 16);
    CHECK(m.time.samples >= 3);
    CHECK(m.time.median > 0);
    CHECK(m.images_per_second() == doctest::Approx(2 / m.time.median));
    CHECK(m.bytes > 100000);
    CHECK(m.kernel_seconds() > 0);
    bool scan = false, adamw = false, backward = false;
    for (const KernelTime& k : m.kernels) {
      scan |= k.kernel == "selective_scan_fwd" && k.variant == "reference" &&
              k.count == (mode == StepMode::remake ? 6 : 3);
      adamw |= k.kernel == "adamw" && k.count == 1;
      backward |= k.kernel == "selective_scan_bwd";
    }
    CHECK(scan);
    CHECK(adamw == (mode != StepMode::infer));
    CHECK(backward == (mode != StepMode::infer));
    if (mode == StepMode::train)
      train_bytes = m.bytes;
    else
      CHECK(m.bytes < train_bytes);
  }
  StepSetup bad;
  bad.model = "vim_micro_patch4_32";
  bad.precision = "tf32";
  CHECK_THROWS_AS(measure_step(bad), InputError);
  bad.precision = "fp32";
  bad.image_size = 2;
  CHECK_THROWS_AS(measure_step(bad), InputError);
}
TEST_CASE("lab: the table of shares adds up to the step") {
  MeasuredStep m;
  m.setup.backend = Backend::cpu;
  m.time = timing_of({0.010});
  m.kernels = {{"scan", "fast", 24, 0.006}, {"norm", "row", 25, 0.0015}};
  const std::string text = share_table(m);
  CHECK(text.find("60.0%") != std::string::npos);
  CHECK(text.find("15.0%") != std::string::npos);
  CHECK(text.find("(between kernels)") != std::string::npos);
  CHECK(text.find("2.50 ms   25.0%") != std::string::npos);
}

TEST_CASE("lab: numbers are short") {
  CHECK(short_number(0.12345) == "0.123");
  CHECK(short_number(1.2345) == "1.23");
  CHECK(short_number(-12.345) == "-12.3");
  CHECK(short_number(123.45) == "123.5");
  CHECK(short_number(12345.6) == "12346");
}
TEST_CASE("lab: a baseline tells how times changed") {
  CHECK(Baseline("").change("a", 1) == "");
  CHECK_FALSE(Baseline(""));
  const File saved(R"({"rows": [{"key": "a", "us": 100.0}]})");
  const Baseline b(saved.path);
  CHECK(b.change("a", 90e-6) == "-10.0%");
  CHECK(b.change("b", 90e-6) == "new");
  for (const char* text : {"", "[]", R"({"rows": [{"key": 3}]})"}) {
    const File bad(text);
    CHECK_THROWS_AS(Baseline{bad.path}, InputError);
  }
}
TEST_CASE("lab: tables are written between their marks only") {
  const File page("a\n<!-- step -->\nold\n<!-- /step -->\nb\n");
  CHECK(write_between_marks(page.path, "step", "new\n"));
  CHECK(page.text() == "a\n<!-- step -->\n\nnew\n\n<!-- /step -->\nb\n");
  CHECK_FALSE(write_between_marks(page.path, "bench", "other\n"));
  CHECK(page.text() == "a\n<!-- step -->\n\nnew\n\n<!-- /step -->\nb\n");
  CHECK_FALSE(write_between_marks("/nowhere/page.md", "step", ""));
}
TEST_CASE("lab: shapes are all combinations") {
  const auto shapes = parse_shapes("B=1|2,L=3|4|5");
  REQUIRE(shapes.size() == 6);
  CHECK(shapes[0] == std::map<std::string, int64_t>{{"B", 1}, {"L", 3}});
  CHECK(shapes[5] == std::map<std::string, int64_t>{{"B", 2}, {"L", 5}});
}
TEST_CASE("lab: a variant is chosen by name") {
  const auto choices = parse_kernel_choices({"fill=reference", "rope=openmp"});
  REQUIRE(choices.size() == 2);
  CHECK(choices[1].first == "rope");
  CHECK(choices[1].second == "openmp");
  CHECK(parse_kernel_choices({}).empty());
  CHECK_THROWS_WITH_AS(parse_kernel_choices({"fill"}), doctest::Contains("NAME=VARIANT"),
                       InputError);
  CHECK_THROWS_WITH_AS(parse_kernel_choices({"fil=reference"}), doctest::Contains("fill"),
                       InputError);
  CHECK_THROWS_WITH_AS(parse_kernel_choices({"fill=fast"}), doctest::Contains("reference"),
                       InputError);
}
