// Keeps a run's history and writes its report.
#include "apps/train_cifar/report.h"

#include <fmt/format.h>
#include <fstream>
#include <thread>

#include "apps/train_cifar/report_page.h"

namespace krait {
namespace {

// What TensorBoard calls the numbers of a line of log.txt.
const std::pair<const char*, const char*> charts[] = {
    {"train_loss", "train/loss"},
    {"train_lr", "train/lr"},
    {"images_per_second", "train/images_per_second"},
    {"test_loss", "test/loss"},
    {"test_acc1", "test/acc1"},
    {"test_acc5", "test/acc5"},
    {"test_loss_ema", "ema/loss"},
    {"test_acc1_ema", "ema/acc1"},
    {"test_acc5_ema", "ema/acc5"}};

// The options as a table in Markdown.
std::string options_text(const nlohmann::ordered_json& run) {
  std::string s = fmt::format("`{}`\n\n| option | value |\n|---|---|\n", run.value("command", ""));
  if (!run.contains("options")) return s;
  for (const auto& [name, value] : run["options"].items())
    s += fmt::format("| {} | {} |\n", name, value.dump());
  return s;
}

// Those of the folder, if they are of this data set and of an epoch that counts.
Guesses guesses_before(const std::filesystem::path& file, const Dataset& test, int64_t next_epoch) {
  Guesses g = read_guesses(file);
  const bool fits = g.epoch < next_epoch && static_cast<int64_t>(g.of.size()) == test.count();
  for (size_t i = 0; fits && i < g.of.size(); ++i)
    if (g.of[i].label != test.labels[i] || g.of[i].predicted >= test.classes) return {};
  return fits ? g : Guesses{};
}

}  // namespace

RunReport::RunReport(const std::filesystem::path& folder, nlohmann::ordered_json run,
                     const Dataset& test, int64_t next_epoch)
    : folder_(folder),
      run_(std::move(run)),
      test_(test),
      history_(read_log(folder, next_epoch)),
      last_(guesses_before(folder / "predictions.csv", test, next_epoch)),
      best_(guesses_before(folder / "best_predictions.csv", test, next_epoch)),
      events_(folder, next_epoch + 1) {
  events_.add_text(next_epoch, "options", options_text(run_));
  write_whole(folder_ / "run.json", run_.dump(2) + "\n");
  write();
}

void RunReport::add(const nlohmann::ordered_json& line, std::span<const Prediction> predictions,
                    bool best) {
  const LogLine numbers = numbers_of(line);
  add_line(history_, numbers);
  const auto epoch = static_cast<int64_t>(numbers.at("epoch"));
  std::map<std::string, double> points;
  for (const auto& [logged, name] : charts)
    if (const auto at = numbers.find(logged); at != numbers.end()) points[name] = at->second;
  events_.add_scalars(epoch + 1, points);
  if (predictions.empty()) return write();  // an epoch that was not evaluated
  last_ = {epoch, {}};
  for (size_t i = 0; i < predictions.size(); ++i) {
    const Prediction& p = predictions[i];
    last_.of.push_back({test_.labels[i], p.label, p.probability, p.loss});
  }
  write_guesses(folder_ / "predictions.csv", last_);
  if (best) {
    best_ = last_;
    write_guesses(folder_ / "best_predictions.csv", best_);
  }
  write();
}

void RunReport::write() const {
  write_whole(folder_ / "report.html", report_page(run_, history_, last_, best_, test_));
}

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  std::string name = "CPU";
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name") && line.find(": ") != std::string::npos) {
      name = line.substr(line.find(": ") + 2);
      break;
    }
  return fmt::format("{}, {} threads", name, std::thread::hardware_concurrency());
}

std::string shell_line(int argc, const char* const* argv) {
  const std::string plain =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./=,:+@%";
  std::string s;
  for (int i = 0; i < argc; ++i) {
    std::string word = argv[i];
    if (word.empty() || word.find_first_not_of(plain) != std::string::npos) {
      std::string quoted;
      for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
      word = "'" + quoted + "'";
    }
    s += (i ? " " : "") + word;
  }
  return s;
}

}  // namespace krait
