// The report's files, read again by small readers of their own: PNG, base64, event files, logs,
// predictions, the page; and what a training and a resumed one leave.
#include <cstring>
#include <doctest/doctest.h>
#include <fstream>
#include <unistd.h>

#include "apps/train_cifar/report_page.h"
#include "apps/train_cifar/trainer.h"
#include "engine/io/checksum.h"
#include "engine/report/encode.h"
#include "engine/report/page.h"
#include "kernels/common/error.h"

using namespace krait;

namespace {

struct Folder {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("krait-report-test-" + std::to_string(getpid()));
  Folder() { std::filesystem::create_directories(path); }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string text(const std::string& name) const {
    std::ifstream in(path / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void put(const std::string& name, const std::string& text) const {
    std::ofstream(path / name) << text;
  }
};

size_t times(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; ++at) ++n;
  return n;
}
bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

uint32_t byte(const std::string& s, size_t at) {
  REQUIRE(at < s.size());
  return static_cast<uint8_t>(s[at]);
}
uint32_t big(const std::string& s, size_t at) {
  return byte(s, at) << 24 | byte(s, at + 1) << 16 | byte(s, at + 2) << 8 | byte(s, at + 3);
}
uint64_t little(const std::string& s, size_t at, int bytes) {
  uint64_t v = 0;
  for (int i = bytes - 1; i >= 0; --i) v = v << 8 | byte(s, at + i);
  return v;
}

// The pixels of a PNG file of 8 bits a channel whose data is only stored.
Bitmap read_png(const std::string& file) {
  REQUIRE(file.substr(0, 8) == "\x89PNG\r\n\x1a\n");
  Bitmap p;
  std::string packed;
  std::vector<std::string> types;
  for (size_t at = 8; at < file.size();) {
    const uint32_t n = big(file, at);
    const std::string type = file.substr(at + 4, 4), data = file.substr(at + 8, n);
    CHECK(big(file, at + 8 + n) == crc32(type + data));
    types.push_back(type);
    if (type == "IHDR") {
      p.width = static_cast<int>(big(data, 0));
      p.height = static_cast<int>(big(data, 4));
      p.channels = byte(data, 9) == 2 ? 3 : 1;
      CHECK(byte(data, 8) == 8);
    } else if (type == "IDAT") {
      packed += data;
    }
    at += 12 + n;
  }
  CHECK(types == std::vector<std::string>{"IHDR", "IDAT", "IEND"});
  CHECK((byte(packed, 0) * 256 + byte(packed, 1)) % 31 == 0);  // zlib's check of its header
  std::string rows;
  for (size_t at = 2;;) {
    const bool last = byte(packed, at) & 1;
    CHECK((byte(packed, at) >> 1) == 0u);  // stored
    const uint64_t n = little(packed, at + 1, 2);
    CHECK((n ^ little(packed, at + 3, 2)) == 0xFFFF);
    rows += packed.substr(at + 5, n);
    at += 5 + n;
    if (!last) continue;
    CHECK(at + 4 == packed.size());
    uint32_t a = 1, b = 0;
    for (const char c : rows) a = (a + uint8_t(c)) % 65521, b = (b + a) % 65521;
    CHECK(big(packed, at) == (b << 16 | a));
    break;
  }
  const size_t row = size_t(p.width) * p.channels;
  REQUIRE(rows.size() == (row + 1) * p.height);
  for (int y = 0; y < p.height; ++y) {
    CHECK(byte(rows, y * (row + 1)) == 0);
    for (size_t i = 0; i < row; ++i)
      p.bytes.push_back(static_cast<uint8_t>(byte(rows, y * (row + 1) + 1 + i)));
  }
  return p;
}

// A protocol buffer's fields: number -> values, as numbers or as bytes.
struct Message {
  std::map<int, std::vector<uint64_t>> numbers;
  std::map<int, std::vector<std::string>> bytes;
  explicit Message(const std::string& s) {
    size_t at = 0;
    auto varint = [&] {
      uint64_t v = 0;
      for (int shift = 0;; shift += 7) {
        const uint64_t b = byte(s, at++);
        v |= (b & 127) << shift;
        if (b < 128) return v;
      }
    };
    while (at < s.size()) {
      const uint64_t key = varint();
      const int field = static_cast<int>(key >> 3), kind = static_cast<int>(key & 7);
      if (kind == 0) {
        numbers[field].push_back(varint());
      } else if (kind == 2) {
        const uint64_t n = varint();
        REQUIRE(at + n <= s.size());
        bytes[field].push_back(s.substr(at, n));
        at += n;
      } else {
        REQUIRE((kind == 1 || kind == 5));
        numbers[field].push_back(little(s, at, kind == 1 ? 8 : 4));
        at += kind == 1 ? 8 : 4;
      }
    }
  }
};

std::vector<Message> read_events(const std::string& file) {
  auto mask = [](uint32_t c) { return ((c >> 15) | (c << 17)) + 0xA282EAD8u; };
  std::vector<Message> events;
  for (size_t at = 0; at < file.size();) {
    const uint64_t n = little(file, at, 8);
    CHECK(little(file, at + 8, 4) == mask(crc32c(file.substr(at, 8))));
    const std::string data = file.substr(at + 12, n);
    CHECK(little(file, at + 12 + n, 4) == mask(crc32c(data)));
    events.emplace_back(data);
    at += 16 + n;
  }
  return events;
}
float as_float(uint64_t bits) {
  const auto low = static_cast<uint32_t>(bits);
  float f;
  std::memcpy(&f, &low, sizeof f);
  return f;
}

Dataset three_pictures() {
  Dataset d;
  d.name = "THREE";
  d.classes = 3;
  d.height = d.width = 2;
  d.class_names = {"cat", "<b>dog</b>", "a \"bird\""};
  d.labels = {0, 1, 2};
  for (int i = 0; i < 36; ++i) d.images.push_back(static_cast<uint8_t>(7 * i));
  return d;
}

TrainOptions small(const Folder& folder) {
  TrainOptions o;
  o.model = "vim_micro_patch4_32";
  o.model_given = true;
  o.patch_size = 16;  // 4 tokens: quick
  o.depth = 1;
  o.data_set = "SYNTHETIC";
  o.model_ema = true;
  o.model_ema_decay = 0.9;
  o.batch_size = 1000;  // 10 steps an epoch
  o.epochs = 3;
  o.device = "cpu";
  o.print_every = 1000000;
  o.output_dir = folder.path.string();
  o.command = "train_cifar --output_dir '<here>'";
  return o;
}

std::vector<std::filesystem::path> event_files(const Folder& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& f : std::filesystem::directory_iterator(folder.path))
    if (has(f.path().filename().string(), "tfevents")) files.push_back(f.path().filename());
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

TEST_CASE("report: checksums have their published values") {
  CHECK(crc32("123456789") == 0xCBF43926u);
  CHECK(crc32c("123456789") == 0xE3069283u);
  CHECK(crc32("6789", crc32("12345")) == 0xCBF43926u);
}
TEST_CASE("report: base64 has the values of RFC 4648") {
  const std::pair<const char*, const char*> known[] = {{"", ""},
                                                       {"f", "Zg=="},
                                                       {"fo", "Zm8="},
                                                       {"foo", "Zm9v"},
                                                       {"foob", "Zm9vYg=="},
                                                       {"fooba", "Zm9vYmE="},
                                                       {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, coded] : known) CHECK(base64(plain) == coded);
  CHECK(base64("\xff\xfe\xfd") == "//79");
}
TEST_CASE("report: a PNG file holds its pixels") {
  for (const auto& [height, width, channels] :
       {std::array{1, 1, 1}, std::array{3, 5, 3}, std::array{200, 150, 3}}) {  // > one block
    Bitmap p{height, width, channels, {}};
    for (int i = 0; i < height * width * channels; ++i)
      p.bytes.push_back(static_cast<uint8_t>(i * 37 + i / 251));
    const Bitmap q = read_png(png(p));
    CHECK(q.height == height);
    CHECK(q.width == width);
    CHECK(q.channels == channels);
    CHECK(q.bytes == p.bytes);
  }
  CHECK_THROWS_AS(png({2, 2, 3, {1, 2, 3}}), Error);
}
TEST_CASE("report: a large picture is shrunk to means, a small one left alone") {
  const Bitmap p{2, 4, 1, {0, 10, 100, 200, 20, 31, 100, 100}};
  CHECK(shrunk(p, 4).bytes == p.bytes);
  const Bitmap q = shrunk(p, 2);
  CHECK(q.height == 1);
  CHECK(q.width == 2);
  CHECK(q.bytes == std::vector<uint8_t>{15, 125});
  const Bitmap line = shrunk({1, 1000, 1, std::vector<uint8_t>(1000, 9)}, 96);
  CHECK(line.width == 90);
  CHECK(line.bytes == std::vector<uint8_t>(90, 9));
}
TEST_CASE("report: an event file is read again, with its checksums") {
  Folder folder;
  {
    EventFile events(folder.path, 5);
    events.add_text(4, "options", "a | b");
    events.add_scalars(5, {{"test/acc1", 85.5}, {"train/loss", 0.25}});
    events.add_scalars(300, {{"train/loss", NAN}});
  }
  const auto files = event_files(folder);
  REQUIRE(files.size() == 1);
  const auto events = read_events(folder.text(files[0]));
  REQUIRE(events.size() == 5);
  CHECK(events[0].bytes.at(3)[0] == "brain.Event:2");
  CHECK(Message(events[1].bytes.at(7)[0]).numbers.at(1)[0] == 1);  // START: earlier steps >= 5 go
  CHECK(events[1].numbers.at(2)[0] == 5);
  const Message text(Message(events[2].bytes.at(5)[0]).bytes.at(1)[0]);
  CHECK(text.bytes.at(1)[0] == "options");
  CHECK(Message(text.bytes.at(8)[0]).bytes.at(8)[0] == "a | b");
  CHECK(Message(Message(text.bytes.at(9)[0]).bytes.at(1)[0]).bytes.at(1)[0] == "text");
  const auto values = Message(events[3].bytes.at(5)[0]).bytes.at(1);
  REQUIRE(values.size() == 2);
  CHECK(Message(values[0]).bytes.at(1)[0] == "test/acc1");
  CHECK(as_float(Message(values[0]).numbers.at(2)[0]) == 85.5f);
  CHECK(as_float(Message(values[1]).numbers.at(2)[0]) == 0.25f);
  CHECK(events[4].numbers.at(2)[0] == 300);
  for (const Message& e : events) CHECK(e.numbers.at(1).size() == 1);  // wall time
}
TEST_CASE("report: a log is read in epochs; what was trained again counts once") {
  Folder folder;
  CHECK(read_log(folder.path).empty());
  folder.put("log.txt",
             "{\"epoch\": 0, \"test_acc1\": 10}\n{\"epoch\": 1, \"test_acc1\": 20, \"x\": null}\n"
             "{\"epoch\": 2, \"test_acc1\": 30}\n{\"epoch\": 1, \"test_acc1\": 21}\n");
  const auto log = read_log(folder.path);
  REQUIRE(log.size() == 2);
  CHECK(log[1].at("test_acc1") == 21);
  CHECK(log[1].count("x") == 0);
  CHECK(read_log(folder.path, 1).size() == 1);
  folder.put("log.txt", "{\"epoch\": 0}\nnothing\n");
  CHECK_THROWS_WITH_AS(read_log(folder.path), doctest::Contains("log.txt, line 2"), InputError);
}
TEST_CASE("report: predictions come back; a damaged file gives none") {
  Folder folder;
  const Guesses g{4, {{0, 1, 0.75, 1.5}, {2, 2, 1, 0}, {1, -1, NAN, NAN}}};
  write_guesses(folder.path / "p.csv", g);
  const Guesses h = read_guesses(folder.path / "p.csv");
  CHECK(h.epoch == 4);
  REQUIRE(h.of.size() == 3);
  CHECK(h.of[0].predicted == 1);
  CHECK(h.of[0].probability == 0.75);
  CHECK(h.of[0].loss == 1.5);
  CHECK(h.of[2].predicted == -1);
  CHECK(std::isnan(h.of[2].probability));
  CHECK(read_guesses(folder.path / "none.csv").epoch == -1);
  folder.put("p.csv", folder.text("p.csv") + "3,1,");
  CHECK(read_guesses(folder.path / "p.csv").of.empty());
}
TEST_CASE("report: ticks are round numbers around the values") {
  CHECK(nice_ticks(0.1, 0.9, 5) == std::vector<double>{0, 0.2, 0.4, 0.6000000000000001, 0.8, 1});
  CHECK(nice_ticks(1, 3, 7, true) == std::vector<double>{1, 2, 3});
  for (const auto& [low, high] : {std::pair{85.1, 85.4}, std::pair{0.0, 1.5e-5},
                                  std::pair{-3.0, 12345.0}, std::pair{1.0, 300.0}}) {
    const auto ticks = nice_ticks(low, high, 5);
    const double rounding = 1e-9 * (high - low);
    CHECK(ticks.front() <= low + rounding);
    CHECK(ticks.back() >= high - rounding);
    CHECK(ticks.size() >= 3);
    CHECK(ticks.size() <= 8);
    std::vector<std::string> texts;
    for (double t : ticks) texts.push_back(tick_text(t, ticks[1] - ticks[0]));
    CHECK(std::unique(texts.begin(), texts.end()) == texts.end());
  }
  CHECK(tick_text(0.25, 0.05) == "0.25");
  CHECK(tick_text(12000, 2000) == "12000");
  CHECK(tick_text(0.00002, 0.00001) == "2e-05");
}
TEST_CASE("report: a chart has what it is to show, and leaves out what is not finite") {
  CHECK(chart_html({.title = "t", .x_label = "x", .series = {{"a", {1}, {NAN}}}}).empty());
  const std::string s =
      chart_html({.title = "Loss <1>",
                  .x_label = "epoch",
                  .series = {{"train", {1, 2, 3}, {3, NAN, 1}}, {"EMA", {}, {}}}});
  CHECK(has(s, "Loss &lt;1&gt;"));
  CHECK(!has(s, "<1>"));
  CHECK(times(s, "<circle") == 2);
  CHECK(times(s, "<li>") == 1);  // a series without points has no legend
  CHECK(has(s, "aria-label=\"Loss &lt;1&gt; over epoch. At the end: train 1\""));
  CHECK(has(s, "text-anchor=\"middle\">epoch</text>"));
  CHECK(!has(s, "nan"));
}
TEST_CASE("report: the page has every part, and escapes what comes from outside") {
  const Dataset d = three_pictures();
  const nlohmann::ordered_json run = {{"model", "vim<micro>"},
                                      {"parameters", 1234},
                                      {"precision", "fp32"},
                                      {"device", "CPU"},
                                      {"cpu", "A & B"},
                                      {"seed", 7},
                                      {"version", "0.1 (abc)"},
                                      {"epochs", 9},
                                      {"started", "today"},
                                      {"command", "x '<script>'"},
                                      {"options", {{"lr", 0.5}, {"flip", true}}},
                                      {"defaults", {{"lr", 0.25}, {"flip", true}}}};
  std::vector<LogLine> history;
  for (double e : {0.0, 1.0})
    history.push_back({{"epoch", e},
                       {"train_loss", 2 - e},
                       {"test_loss", 2.5 - e},
                       {"test_acc1", 40 + 10 * e},
                       {"test_acc5", 90.0},
                       {"train_lr", 1e-3},
                       {"images_per_second", 100.0},
                       {"seconds", 60 * (e + 1)},
                       {"test_acc1_ema", 55.5 - e},
                       {"test_loss_ema", 1.0},
                       {"test_acc5_ema", 91.0}});
  const Guesses last{1, {{0, 0, 0.9, 0.1}, {1, 0, 0.8, 2}, {2, 1, 0.95, 3}}};
  const Guesses best{0, {{0, 0, 0.9, 0.1}, {1, 1, 0.8, 2}, {2, 1, 0.5, 3}}};
  const std::string s = report_page(run, history, last, best, d);
  for (const char* part : {"<title>vim&lt;micro&gt; on THREE</title>",
                           "50.00 %",
                           "54.50 %",
                           "55.50 %",
                           "A &amp; B",
                           "1234",
                           "fp32",
                           "0.1 (abc)",
                           "&lt;script&gt;",
                           ">Loss<",
                           ">Accuracy, top-1<",
                           ">Accuracy, top-5<",
                           ">Learning rate<",
                           ">Training speed, images/s<",
                           "test, EMA",
                           "Last evaluation, after epoch 2",
                           "Best evaluation, after epoch 1",
                           "Surest mistakes",
                           "&lt;b&gt;dog&lt;/b&gt;",
                           "a &quot;bird&quot;",
                           "--lr",
                           "0.5",
                           "0.25",
                           "--flip",
                           "prefers-color-scheme: dark",
                           "<html lang=\"en\">",
                           "scope=\"col\"",
                           "scope=\"row\""})
    CHECK_MESSAGE(has(s, part), part);
  CHECK(!has(s, "<b>dog"));
  CHECK(!has(s, "'<script>'"));
  CHECK(times(s, "<script>") == 1);
  CHECK(!has(s, "http:"));
  CHECK(!has(s, "https:"));
  CHECK(!has(s, "src=\"/"));
  // The surest mistake first: picture 2, called dog.
  CHECK(times(s, "<img ") == 2);
  CHECK(s.find("alt=\"test picture 2: a &quot;bird&quot;, called &lt;b&gt;dog&lt;/b&gt;\"") <
        s.find("alt=\"test picture 1:"));
  // Its pixels, from (channels, H, W).
  const Bitmap picture{2, 2, 3, {168, 196, 224, 175, 203, 231, 182, 210, 238, 189, 217, 245}};
  CHECK(has(s, base64(png(picture))));
  CHECK(confusion_matrix(last, 3) ==
        std::vector<std::vector<int64_t>>{{1, 0, 0}, {1, 0, 0}, {0, 1, 0}});
  CHECK(surest_mistakes(last, 1) == std::vector<int64_t>{2});
  const std::string empty = report_page(nullptr, {}, {}, {}, d);
  CHECK(has(empty, "No epoch has been evaluated yet"));
}
TEST_CASE("report: many classes are shown by their confused pairs") {
  Dataset d = three_pictures();
  d.classes = 100;
  const std::string s =
      classes_html({0, {{0, 0, 1, 0}, {1, 50, 1, 0}, {2, 50, 1, 0}, {2, 50, 1, 0}}}, {}, d);
  CHECK(has(s, "was called"));
  CHECK(has(s, "class 50"));
  CHECK(!has(s, "class=\"matrix\""));
}
TEST_CASE("report: a training leaves one, and a resumed one keeps its history") {
  Folder folder;
  TrainOptions o = small(folder);
  {
    Trainer t(o);
    t.train(13);  // one epoch, and a part of the next
  }
  const auto count = [&] { return times(folder.text("report.html"), "<circle"); };
  CHECK(has(folder.text("report.html"), "Surest mistakes"));
  CHECK(has(folder.text("report.html"), "&lt;here&gt;"));
  const size_t after_one = count();
  CHECK(after_one == 9);  // a point of each curve
  const Guesses guesses = read_guesses(folder.path / "predictions.csv");
  REQUIRE(guesses.of.size() == 2000);
  int hits = 0;
  double loss = 0;
  for (const Guess& g : guesses.of) hits += g.label == g.predicted, loss += g.loss;
  const auto log = read_log(folder.path);
  CHECK(100.0 * hits / 2000 == doctest::Approx(log[0].at("test_acc1")));
  CHECK(loss / 2000 == doctest::Approx(log[0].at("test_loss")).epsilon(1e-4));
  o.resume = (folder.path / "checkpoint.safetensors").string();
  {
    Trainer t(o);
    t.train(0);  // not a step: but there is a report again
    CHECK(count() == after_one);
    CHECK(has(folder.text("report.html"), "Surest mistakes"));
    t.train();
  }
  CHECK(count() == 3 * after_one);
  CHECK(read_guesses(folder.path / "predictions.csv").epoch == 2);
  CHECK(read_run(folder.path)["options"]["batch-size"] == 1000);
  CHECK(!std::filesystem::exists(folder.path / "report.html.new"));
  // Event files: one a start. Whoever reads them in order has each epoch once.
  const auto files = event_files(folder);
  CHECK(files.size() == 3);
  std::map<uint64_t, size_t> values;
  for (const auto& file : files)
    for (const Message& e : read_events(folder.text(file.string()))) {
      const uint64_t step = e.numbers.at(2)[0];
      if (e.bytes.count(7)) values.erase(values.lower_bound(step), values.end());
      if (e.bytes.count(5))
        if (const size_t n = Message(e.bytes.at(5)[0]).bytes.at(1).size(); n > 1)
          CHECK(values.emplace(step, n).second);
    }
  CHECK(values == std::map<uint64_t, size_t>{{1, 9}, {2, 9}, {3, 9}});
}
TEST_CASE("report: a line of the log that was cut off is none, and the next one takes its place") {
  Folder folder;
  append_log(folder.path, {{"epoch", 0}, {"train_loss", 2}});
  append_log(folder.path, {{"epoch", 1}, {"train_loss", 1}});
  const std::string whole = folder.text("log.txt");
  for (const size_t cut : {1, 5, 20}) {
    std::filesystem::resize_file(folder.path / "log.txt", whole.size() - cut);
    // Where only the end of the line is missing, it is a line still.
    CHECK(read_log(folder.path).size() == (cut == 1 ? 2 : 1));
    append_log(folder.path, {{"epoch", 1}, {"train_loss", 1}});
    CHECK(folder.text("log.txt") == whole);
  }
}
TEST_CASE("report: a command line can be pasted into a shell") {
  const char* words[] = {"train_cifar", "--lr", "1e-3", "--output_dir", "my run's", ""};
  CHECK(shell_line(6, words) == "train_cifar --lr 1e-3 --output_dir 'my run'\\''s' ''");
}
